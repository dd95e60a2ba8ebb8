package import NIOCore

extension ChannelPipeline.SynchronousOperations {
    /// The channel's descriptor, which stays the channel's; nil where there is none.
    package var descriptor: CInt? {
        get throws { try withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 } }
    }
}
