import Foundation

/// One answer of the daemon.
package struct HTTPResponse: Sendable {
    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]

    package var text: String { String(decoding: body, as: UTF8.self) }

    /// The value of a header, its name's case ignored.
    package subscript(name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }

    /// The body's members.
    package var json: [String: Any] {
        get throws {
            guard let object = try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any] else {
                throw TestFailure("no JSON object: \(text)")
            }
            return object
        }
    }

    /// A member that is a whole number.
    package func number(_ name: String) throws -> Int? { try json[name] as? Int }

    package var isDegraded: Bool { text.contains("\"degraded\":true") }

    /// Why Redis did not decide; nil where it did.
    package var degradedReason: String? {
        guard isDegraded else { return nil }
        guard let start = text.range(of: "\"reason\":\"")?.upperBound else { return "" }
        return String(text[start...].prefix { $0 != "\"" })
    }

    package var isAllowed: Bool { status == 200 && text.hasPrefix("{\"allowed\":true") }
}

/// A blocking HTTP/1.1 client on one connection that is kept alive.
package final class HTTPConnection {
    private let socket: StreamSocket
    private var received: [UInt8] = []

    package init(_ address: Address, timeoutSeconds: Double = 20) throws {
        socket = try StreamSocket(address, timeoutSeconds: timeoutSeconds)
    }

    /// Sends bytes as they are; false where the daemon has closed.
    @discardableResult
    package func send(_ text: String) throws -> Bool { try socket.send(text.utf8) }

    /// Says that nothing more will be sent.
    package func finish() { socket.finish() }

    /// Sends a request and waits for its answer.
    package func request(
        _ method: String, _ target: String, _ headers: [String: String] = [:], body: String? = nil
    ) throws -> HTTPResponse {
        try send(Self.text(method, target, headers, body: body))
        return try response(toHead: method == "HEAD")
    }

    /// Asks for a decision in the ordinary way.
    package func check(_ user: String, cost: Int? = nil) throws -> HTTPResponse {
        try send(Self.checkText(user, cost: cost))
        return try response()
    }

    /// A request's text, with Host and, where there is a body, Content-Type and Content-Length.
    package static func text(
        _ method: String, _ target: String, _ headers: [String: String] = [:], body: String? = nil
    ) -> String {
        var all = ["Host": "localhost"]
        if let body {
            all["Content-Type"] = "application/json"
            all["Content-Length"] = String(body.utf8.count)
        }
        all.merge(headers) { $1 }
        let lines = all.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\r\n" }
        return "\(method) \(target) HTTP/1.1\r\n\(lines.joined())\r\n\(body ?? "")"
    }

    package static func checkText(_ user: String, cost: Int? = nil) -> String {
        text("POST", "/v1/check", body: "{\"user\":\"\(user)\"\(cost.map { ",\"cost\":\($0)" } ?? "")}")
    }

    /// The next answer, a `100 Continue` included.
    package func response(toHead: Bool = false) throws -> HTTPResponse {
        let head = try receiveHead()
        let lines = String(decoding: head.dropLast(4), as: UTF8.self).components(separatedBy: "\r\n")
        let statusLine = lines[0].split(separator: " ", maxSplits: 2)
        guard statusLine.count == 3, statusLine[0] == "HTTP/1.1", let status = Int(statusLine[1]) else {
            throw TestFailure("not a status line: \(lines[0])")
        }
        let headers = try lines.dropFirst().map { line in
            guard let colon = line.range(of: ": ") else { throw TestFailure("not a header line: \(line)") }
            return (name: String(line[..<colon.lowerBound]), value: String(line[colon.upperBound...]))
        }
        var response = HTTPResponse(status: status, headers: headers, body: [])
        let isEmpty = toHead || status < 200 || status == 204
        if !isEmpty {
            guard let length = response["content-length"].flatMap({ Int($0) }) else {
                throw TestFailure("no Content-Length: \(lines)")
            }
            response.body = try receive(count: length)
        }
        return response
    }

    /// Whether the daemon closes the connection without sending anything more.
    package func isClosed(withinSeconds seconds: Double = 10) throws -> Bool {
        guard received.isEmpty else { return false }
        guard let bytes = try socket.receive(withinMilliseconds: Int(seconds * 1_000)) else { return false }
        received += bytes
        return bytes.isEmpty
    }

    /// Everything up to the empty line that ends a head.
    private func receiveHead() throws -> [UInt8] {
        var searched = 0
        while true {
            while searched + 4 <= received.count {
                if received[searched] == 0x0d, received[searched + 1] == 0x0a, received[searched + 2] == 0x0d {
                    return take(searched + 4)
                }
                searched += 1
            }
            try receiveMore()
        }
    }

    private func receive(count: Int) throws -> [UInt8] {
        while received.count < count { try receiveMore() }
        return take(count)
    }

    private func receiveMore() throws {
        guard let bytes = try socket.receive() else { throw TestFailure("no answer in time") }
        guard !bytes.isEmpty else {
            throw ConnectionClosed(received: String(decoding: received, as: UTF8.self))
        }
        received += bytes
    }

    private func take(_ count: Int) -> [UInt8] {
        defer { received.removeFirst(count) }
        return Array(received[..<count])
    }
}

/// The daemon closed the connection where an answer was due.
package struct ConnectionClosed: Error {
    package var received: String
}
