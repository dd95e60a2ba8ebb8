import NIOCore

/// `ServerReflectionInfo` of `grpc.reflection.v1` and of `v1alpha`, which differ by name alone: tells tools like grpcurl
/// which services there are, and how they are called.
final class ReflectionMethod: StreamingMethod {
    static let paths = ["v1", "v1alpha"].map { "/grpc.reflection.\($0).ServerReflection/ServerReflectionInfo" }

    private let services: [String]

    init(services: [String]) { self.services = services }

    func open(_ stream: MessageStream) -> any StreamingCall { Call(services: services, stream: stream) }

    private final class Call: StreamingCall {
        private let services: [String]
        private let stream: MessageStream

        init(services: [String], stream: MessageStream) {
            self.services = services
            self.stream = stream
        }

        func receive(_ message: ByteBuffer) {
            let answer = message.withUnsafeReadableBytes { bytes in
                Result { () throws(ProtobufError) in try ReflectionAnswer(to: bytes, services: services).message }
            }
            switch answer {
            case .success(let message): stream.send(message)
            case .failure: stream.finish(.internalError)
            }
        }

        func clientEnded() { stream.finish() }

        func ended() {}
    }
}

/// The answer to one question of reflection's.
struct ReflectionAnswer {
    private(set) var message = ByteBuffer()

    /// Answers a `ServerReflectionRequest`.
    init(
        to request: UnsafeRawBufferPointer, services: [String], described: DescribedServices = .known
    ) throws(ProtobufError) {
        var reader = ProtobufReader(request)
        var question: (field: Int, text: String)?
        var host = ""
        while let field = try reader.next() {
            switch field {
            case .bytes(1): host = try reader.text()
            case .bytes(let number) where [3, 4, 6, 7].contains(number): question = (number, try reader.text())
            case .bytes(5):
                question = (5, "")
                try reader.skip(field)
            default: try reader.skip(field)
            }
        }
        message.writeField(1, text: host)
        message.writeField(2) { $0.writeBytes(request) }
        switch question {
        case (3, let name)?: write(described.file(named: name), "no file is named \(name)")
        case (4, let symbol)?: write(described.file(defining: symbol), "no symbol is named \(symbol)")
        case (7, _)?:
            message.writeField(6) { list in
                for service in services { list.writeField(1) { $0.writeField(1, text: service) } }
            }
        case .some: writeError(.notFound, "there are no extensions")
        case nil: writeError(.invalidArgument, "cannot answer: nothing is asked")
        }
    }

    private mutating func write(_ files: [DescribedFile]?, _ otherwise: String) {
        guard let files else { return writeError(.notFound, otherwise) }
        message.writeField(4) { response in
            for file in files { response.writeField(1) { $0.writeBytes(file.bytes) } }
        }
    }

    private mutating func writeError(_ code: GRPCError.Code, _ text: String) {
        message.writeField(7) {
            $0.writeField(1, number: code.rawValue)
            $0.writeField(2, text: text)
        }
    }
}
