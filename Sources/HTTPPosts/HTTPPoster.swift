package import NIOCore
import Synchronization
package import TLSContexts

/// What is the same for all bodies of one poster.
package struct PostOptions: Sendable {
    /// What the server is told of the program: `name/version`.
    package var userAgent: String
    /// Sent with each body.
    package var headers: [PostHeader]
    /// The files of TLS; they are read again for each connection, and nothing is read for an `http://` URL.
    package var tls = TLSEnd(
        role: .client(verifiesServer: true), authoritiesFile: nil, certificateFile: nil, keyFile: nil)
    /// How much of one answer is taken in, its head included, in bytes.
    package var maximumAnswerBytes = 65_536

    /// Options whose answers are bounded by 64 KiB, and whose servers the system's authorities vouch for.
    package init(userAgent: String, headers: [PostHeader] = []) {
        self.userAgent = userAgent
        self.headers = headers
    }
}

/// Posts bodies to one URL, one after another, on one connection that it keeps between them.
///
/// It tries nothing again: who posts knows whether a body may come twice, and when. It must be ``close()``d before its
/// event loop is shut down.
package final class HTTPPoster: Sendable {
    private let eventLoop: any EventLoop
    private let line: NIOLoopBoundBox<PostLine?>
    private let count = Atomic(0)

    /// A poster that connects when the first body is posted.
    package init(url: PostURL, options: PostOptions, eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        let line = NIOLoopBoundBox<PostLine?>.makeEmptyBox(eventLoop: eventLoop)
        self.line = line
        eventLoop.execute { line.value = PostLine(url: url, options: options, eventLoop: eventLoop) }
    }

    /// Posts a body, and waits for the whole answer. The one before must have ended.
    ///
    /// - Parameters:
    ///   - headers: further ones, for this body alone.
    ///   - limit: the time for connecting, sending and the answer together.
    package func post(
        _ body: ByteBuffer, contentType: String, headers: [PostHeader] = [], within limit: TimeAmount
    ) async throws(PostFailure) -> PostAnswer {
        let number = count.add(1, ordering: .relaxed).newValue
        let result = await withTaskCancellationHandler {
            guard !Task.isCancelled else { return Result<PostAnswer, PostFailure>.failure(.cancelled) }
            return await withCheckedContinuation { continuation in
                eventLoop.execute { [line] in
                    let post = PendingPost(
                        number: number, body: body, contentType: contentType, headers: headers, limit: limit
                    ) { continuation.resume(returning: $0) }
                    line.value?.begin(post)
                }
            }
        } onCancel: {
            eventLoop.execute { [line] in line.value?.cancel(number) }
        }
        return try result.get()
    }

    /// Ends what is being posted, closes the connection, and posts nothing more.
    package func close() { eventLoop.execute { [line] in line.value?.close() } }
}
