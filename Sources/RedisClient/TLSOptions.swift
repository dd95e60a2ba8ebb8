/// How a connection to Redis is encrypted; the defaults verify the server by the system's own authorities.
public struct TLSOptions: Sendable, Equatable {
    /// A file of PEM certificates to verify the server by, or nil for the system's.
    public var authoritiesFile: String?
    /// A file of this client's PEM certificate chain, or nil where none is shown.
    public var certificateFile: String?
    /// The file of that certificate's PEM key.
    public var keyFile: String?
    /// The name that the server's certificate must be for, or nil for the host that is connected to.
    public var serverName: String?

    /// The defaults.
    public init() {}
}
