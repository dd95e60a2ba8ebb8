import Glibc
public import Logging

/// A swift-log backend that writes one line an event, in JSON or as text.
///
/// Metadata is flat in the line, sorted by key; the event's wins over the logger's, which wins over the provider's.
/// In JSON a key that the line itself uses (`time`, `level`, `message`, `truncated`) gets an underscore at its end.
public struct StructuredLogHandler: LogHandler {
    /// The metadata of this logger.
    public var metadata: Logger.Metadata = [:]
    /// What else goes with every event, asked when it is logged.
    public var metadataProvider: Logger.MetadataProvider?

    private let output: LogOutput
    private let format: LogFormat
    private let clock: @Sendable () -> UnixMilliseconds
    private var ownLevel: Logger.Level?

    /// Makes the handler of one logger: `LoggingSystem.bootstrap { _ in StructuredLogHandler(output: …) }`.
    public init(output: LogOutput, format: LogFormat, metadataProvider: Logger.MetadataProvider? = nil) {
        self.init(output: output, format: format, metadataProvider: metadataProvider, clock: UnixMilliseconds.now)
    }

    init(
        output: LogOutput,
        format: LogFormat,
        metadataProvider: Logger.MetadataProvider? = nil,
        clock: @escaping @Sendable () -> UnixMilliseconds
    ) {
        self.output = output
        self.format = format
        self.metadataProvider = metadataProvider
        self.clock = clock
    }

    /// The level of this logger: the output's shared one until one is set here, which then stays.
    public var logLevel: Logger.Level {
        get { ownLevel ?? output.level }
        set { ownLevel = newValue }
    }

    /// The metadata of this logger under one key.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes the event as one line.
    public func log(event: LogEvent) {
        let fields = fields(of: event)
        var line = LogLine(limit: output.lineLimit)
        switch format {
        case .json: line.appendJSON(time: clock(), level: event.level, message: event.message, fields: fields)
        case .text: line.appendText(time: clock(), level: event.level, message: event.message, fields: fields)
        }
        output.write(line.bytes)
    }

    private func fields(of event: LogEvent) -> [(key: String, value: Logger.MetadataValue)] {
        var merged = metadataProvider?.get() ?? [:]
        merged.merge(metadata) { $1 }
        if let own = event.metadata { merged.merge(own) { $1 } }
        if let error = event.error, merged["error"] == nil { merged["error"] = .string("\(error)") }
        return merged.sorted { $0.key < $1.key }
    }
}
