import Logging
import Testing

@testable import RateLimitService

@Suite("Commands that Redis forbids")
struct ForbiddenCommandsTests {
    private let lines = Lines()
    private let commands: ForbiddenCommands

    init() {
        let lines = lines
        commands = ForbiddenCommands(logger: Logger(label: "test") { _ in LineHandler(lines: lines) })
    }

    @Test("are said once each, whatever asks again, and by what that means")
    func once() {
        for _ in 1...3 {
            commands.note("NOPERM this user has no permissions to run the 'subscribe' command", to: .subscribe)
            commands.note("ERR unknown command 'EVALSHA', with args beginning with: …", to: .evalsha)
        }
        #expect(lines.messages == [ForbiddenCommand.subscribe.consequence, ForbiddenCommand.evalsha.consequence])
    }

    @Test(
        "are not those that only cannot be had now",
        arguments: ["NOAUTH Authentication required.", "LOADING Redis is loading", "NOSCRIPT No matching script.", ""])
    func now(error: String) {
        #expect(!ForbiddenCommands.isProhibition(error))
        commands.note(error, to: .publish)
        #expect(lines.messages.isEmpty)
    }
}
