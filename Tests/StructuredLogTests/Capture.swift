import FoundationEssentials
import Glibc
import Logging
import Testing

@testable import StructuredLog

/// Where a test's log goes: a pipe, a socket pair or a file, read back without waiting.
struct Capture: ~Copyable {
    enum Kind: CaseIterable, Sendable {
        case pipe, socket, file
    }

    let writeEnd: CInt
    private let readEnd: CInt

    init(_ kind: Kind = .pipe) throws {
        var ends: [CInt] = [-1, -1]
        switch kind {
        case .pipe:
            try #require(pipe(&ends) == 0)
        case .socket:
            try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends) == 0)
        case .file:
            var template = Array("/tmp/structured-log-XXXXXX".utf8CString)
            ends[1] = mkstemp(&template)
            ends[0] = open(template, O_RDONLY)
            unlink(template)
            try #require(ends[0] >= 0 && ends[1] >= 0)
        }
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        readEnd = ends[0]
        writeEnd = ends[1]
    }

    /// What was written since the last call, up to 64 KiB.
    func text() -> String {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = read(readEnd, &bytes, bytes.count)
        return String(decoding: bytes[..<max(count, 0)], as: UTF8.self)
    }

    func closeReader() {
        shutdown(readEnd, CInt(SHUT_RDWR))
        _ = dup2(writeEnd, readEnd)
    }

    deinit {
        close(readEnd)
        close(writeEnd)
    }
}

/// 2026-11-21T10:00:00.000Z.
let tenOClock: @Sendable () -> UnixMilliseconds = { UnixMilliseconds(value: 1_795_255_200_000) }

func logger(_ output: LogOutput, _ format: LogFormat, provider: Logger.MetadataProvider? = nil) -> Logger {
    Logger(label: "test") { _ in
        StructuredLogHandler(output: output, format: format, metadataProvider: provider, clock: tenOClock)
    }
}

/// A JSON value, for reading lines back with a parser that is not ours.
indirect enum JSONValue: Decodable, Equatable {
    case string(String), bool(Bool), array([JSONValue]), object([String: JSONValue])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    static func parse(_ text: String) throws -> [String: JSONValue] {
        try JSONDecoder().decode([String: JSONValue].self, from: Data(text.utf8))
    }
}
