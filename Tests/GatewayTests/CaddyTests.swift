import TestSupport
import Testing

/// What Caddy alone does to calls of a model.
@Suite("Caddy", .serialized, .needs("caddy"))
struct CaddyTests {
    @Test("A body above 10 MB is refused, and neither charged nor handed to the model")
    func large() throws {
        let setting = try GatewaySetting(.caddy, ["REQUESTS": "1"])
        let user = newUser()
        // The head alone: it is refused before the rest has come.
        let socket = try StreamSocket(.tcp(setting.port))
        let head = ["POST /v1/x HTTP/1.1", "Host: localhost", "X-User-Id: \(user)", "Content-Length: 10000001", "", ""]
        try socket.send(head.joined(separator: "\r\n").utf8)
        #expect(String(decoding: try socket.receive() ?? [], as: UTF8.self).hasPrefix("HTTP/1.1 413 "))
        #expect(try setting.call(user).status == 200)
    }
}
