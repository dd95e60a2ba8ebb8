import HTTPServer
import NIOCore

/// Writing `envoy.service.auth.v3.CheckResponse`, as of Envoy 1.40.
enum CheckResponse {
    /// Writes what `/v1/auth` answers: what it allows has its headers handed on to the client, what it denies its status,
    /// headers and body.
    static func write(_ answer: AuthorizationAnswer, to message: inout ByteBuffer) {
        // google.rpc.Status: 0 allows, and which other code it is proxies do not read.
        message.writeField(1) { $0.writeField(1, number: code(ofStatus: answer.status).rawValue) }
        guard answer.status != 200 else {
            return message.writeField(3) { ok in
                for header in answer.headers { ok.writeField(6) { write(header, to: &$0) } }
            }
        }
        message.writeField(2) { denied in
            denied.writeField(1) { $0.writeField(1, number: answer.status) }
            for header in answer.headers { denied.writeField(2) { write(header, to: &$0) } }
            denied.writeField(3, text: answer.body)
        }
    }

    /// The codes of `google.rpc.Code` that are said here.
    private enum Code: Int {
        case ok = 0
        case permissionDenied = 7
        case resourceExhausted = 8
        case unavailable = 14
    }

    private static func code(ofStatus status: Int) -> Code {
        switch status {
        case 200: .ok
        case 429: .resourceExhausted
        case 503: .unavailable
        default: .permissionDenied
        }
    }

    /// `HeaderValueOption`: the value stands in place of one that is there.
    private static func write(_ header: (name: String, value: String), to option: inout ByteBuffer) {
        option.writeField(1) { pair in
            pair.writeField(1, text: header.name.lowercased())
            pair.writeField(2, text: header.value)
        }
        // OVERWRITE_IF_EXISTS_OR_ADD
        option.writeField(3, number: 2)
    }
}
