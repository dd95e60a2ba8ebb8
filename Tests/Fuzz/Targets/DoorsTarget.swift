import NIOCore
import NIOPosix
import RateLimitService
import TestSupport

@testable import GRPCServer

#if canImport(HTTPServerTests)
    @testable import HTTPServerTests
#endif

/// The same call by HTTP and by gRPC is the same decision: both doors ask Redis the same, byte for byte, and answer the
/// same to what it says, or both refuse the call. ``DoorScript`` says how bytes make calls.
func fuzzDoors(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let script = DoorScript(bytes)
    guard !script.calls.isEmpty else { return }
    var finding: FuzzFinding?
    // A clock may pass a second, or a month, between the two: what differs by that does so once.
    for _ in 0..<3 {
        do throws(FuzzFinding) {
            return try FuzzedDoors.compare(script)
        } catch {
            finding = error
        }
    }
    if let finding { throw finding }
}

/// Both doors under each of the limits, for all inputs.
private enum FuzzedDoors {
    private static let eventLoop = MultiThreadedEventLoopGroup.singleton.any()

    private static let pairs = Result<[NIOLoopBound<DoorPair>], any Error> {
        let limits = try DoorLimits.all()
        return try eventLoop.makeFutureWithTask {
            let folder = try TemporaryFolder()
            var pairs: [NIOLoopBound<DoorPair>] = []
            for limits in limits { pairs.append(try await limits.pair(in: folder, eventLoop: eventLoop)) }
            // What is connected stays so, and the sockets' names are needed no more.
            folder.remove()
            return pairs
        }.wait()
    }

    static func compare(_ script: DoorScript) throws(FuzzFinding) {
        let answers: [(call: DoorCall, answers: DoorPair.Answers)]
        do {
            let pairs = try pairs.get()
            answers = try ask(script, pairs[script.policy % pairs.count])
        } catch {
            throw FuzzFinding(description: "no doors: \(error)")
        }
        for (call, answers) in answers { try hold(call, answers) }
    }

    /// Makes the calls one after the other.
    private static func ask(
        _ script: DoorScript, _ pair: NIOLoopBound<DoorPair>
    ) throws -> [(DoorCall, DoorPair.Answers)] {
        let isConnected = try eventLoop.submit {
            pair.value.begin(script.decisions)
            return pair.value.isConnected
        }.wait()
        guard isConnected else { throw TestFailure("a connection is lost") }
        var all: [(DoorCall, DoorPair.Answers)] = []
        for call in script.calls {
            let answers = try eventLoop.flatSubmit {
                pair.value.ask(call)?.map { Optional($0) } ?? eventLoop.makeSucceededFuture(nil)
            }.wait()
            if let answers { all.append((call, answers)) }
        }
        return all
    }

    private static func hold(_ call: DoorCall, _ answers: DoorPair.Answers) throws(FuzzFinding) {
        func differ(_ what: String) -> FuzzFinding {
            FuzzFinding(description: "\(what)\ncall: \(call)\nHTTP: \(answers.http)\ngRPC: \(answers.grpc)")
        }
        let (http, grpc) = answers.asked
        guard http == grpc else { throw differ("asked by HTTP: \(http)\nasked by gRPC: \(grpc)") }
        let status = answers.http.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        switch answers.grpc {
        case .error(let error):
            let statuses: Set = error.code == .unavailable ? [503] : [400]
            guard statuses.contains(status) else { throw differ("HTTP does not refuse it") }
        case .message(let message):
            // Nobody can be named.
            let told = answers.http.components("\r\n\r\n").dropFirst().joined()
            guard status == 403, message.contains(Array(told.utf8)) else { throw differ("HTTP names somebody") }
        case .outcome(let outcome):
            if outcome.verdict == .deniedForGood, outcome.source == .off {
                // A value that cannot be used: Envoy lets pass what is answered by an error.
                guard status == 400 else { throw differ("HTTP does not refuse it") }
            } else if call.manners.contains(.inOne), call.kind == .check {
                guard outcome.isAllowed == (status == 200) else { throw differ("decided otherwise") }
            } else {
                guard answers.grpcAsHTTP == answers.http else {
                    throw differ("answered otherwise: \(answers.grpcAsHTTP ?? "")")
                }
            }
        }
    }
}
