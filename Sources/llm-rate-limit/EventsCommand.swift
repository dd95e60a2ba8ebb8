import ArgumentParser
import Glibc
import LLMRateLimitClient
import RateLimitCore
import RateLimitService
import UnixSignals

/// `events`: which thresholds of limits were crossed, over the admin socket.
struct EventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events",
        abstract: "List the thresholds of limits that were crossed.",
        usage: "llm-rate-limit events [--follow] [<options>]",
        discussion: """
            Tells the events that all daemons on the same Redis have written, the oldest \
            first; the last 10,000 are kept. With --follow it goes on until it is \
            interrupted, through restarts of the daemon. With --json each event is one \
            line, whose "cursor" is where --cursor goes on. Uses the daemon's admin \
            socket, which only the daemon's own user may open. \
            Exit code: 0 done, 1 not possible now, 2 error.

              llm-rate-limit events --follow --json
            """)

    @Flag(help: "Go on with events as they come.")
    var follow = false

    @Option(
        help: ArgumentHelp("Only events behind this one.", valueName: "cursor"),
        transform: { text throws(ValidationError) in
            guard let cursor = StreamCursor(text) else { throw ValidationError("accepted is the cursor of an event") }
            return cursor
        })
    var cursor: StreamCursor?

    @OptionGroup var daemon: AdminConnection

    /// How long is waited for more where there are none.
    private static let interval = Duration.seconds(1)
    /// The most pages of a list without an end: twice what the stream keeps.
    private static let mostPages = 2 * EventStream.entries / EventStream.pageSizes.upperBound

    func run() async throws {
        let client: RateLimitClient
        do throws(SocketUnknown) {
            client = RateLimitClient(commandsAskAt: try daemon.file.adminSocket(flag: daemon.adminSocket))
        } catch {
            return try CommandReport(error).deliver()
        }
        var reader = EventReader(cursor: cursor, json: daemon.json)
        guard follow else {
            for _ in 0..<Self.mostPages {
                let report = reader.report(await Self.ask(client, reader.uri))
                try report.deliver()
                if !reader.hasMore { return }
            }
            return
        }
        let signals = await UnixSignalsSequence(trapping: [.sigint, .sigterm])
        // It is how following ends, and what was told has been written.
        Task { for await _ in signals { Self.exit() } }
        while true {
            let report = reader.follow(await Self.ask(client, reader.uri))
            for line in report.errors { printError(line) }
            guard Self.write(report.output), report.exitCode == .success else { throw report.exitCode }
            if !reader.hasMore { try await Task.sleep(for: Self.interval) }
        }
    }

    private static func ask(
        _ client: RateLimitClient, _ uri: String
    ) async -> Result<DaemonResponse, RateLimitClientError> {
        do throws(RateLimitClientError) {
            return .success(try await client.send(DaemonRequest(method: .get, uri: uri)))
        } catch {
            return .failure(error)
        }
    }

    /// Writes lines at once; false where nobody reads them any more.
    private static func write(_ lines: [String]) -> Bool {
        var output = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
        if poll(&output, 1, 0) == 1, CInt(output.revents) & POLLERR != 0 { return false }
        var rest = Array(lines.map { "\($0)\n" }.joined().utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}

/// What has been read of the stream of events, and what is to be said of its pages: a value, which asks nobody.
struct EventReader {
    /// Where to go on; nil for the oldest event there is.
    private(set) var cursor: StreamCursor?
    /// Whether there are more events by now.
    private(set) var hasMore = false
    private let json: Bool
    /// What is wrong, where that was said.
    private var trouble: String?

    init(cursor: StreamCursor?, json: Bool) {
        self.cursor = cursor
        self.json = json
    }

    /// What is asked of the daemon next.
    var uri: String {
        "/v1/events?limit=\(EventStream.pageSizes.upperBound)" + (cursor.map { "&cursor=\($0)" } ?? "")
    }

    /// Tells one page, or why there is none.
    mutating func report(_ result: Result<DaemonResponse, RateLimitClientError>) -> CommandReport {
        hasMore = false
        switch result {
        case .failure(let error): return CommandReport(errors: ["Error: \(error)"], exitCode: .failedRequest)
        case .success(let response):
            if response.status == 503, let problem = response.decoded(ProblemAnswer.self) {
                return CommandReport(wrapping: "unknown: \(problem.text)", exitCode: .denied)
            }
            guard response.status == 200, let page = response.decoded(EventsAnswer.self),
                let next = StreamCursor(page.nextCursor)
            else { return CommandReport(refusal: response, json: json) }
            cursor = next
            hasMore = page.more
            let lines = json ? Self.objects(in: response.body) : page.events.flatMap(\.lines)
            let gap = "Events before the next one have gone: the stream keeps some \(EventStream.entries)."
            return CommandReport(output: lines, errors: page.trimmed ? [gap] : [])
        }
    }

    /// Tells one page, or once why there is none: whoever follows asks again.
    mutating func follow(_ result: Result<DaemonResponse, RateLimitClientError>) -> CommandReport {
        let report = report(result)
        guard report.exitCode != .success else {
            trouble = nil
            return report
        }
        // A request that the daemon does not take is not taken the next time either.
        if case .success(let response) = result, (400...499).contains(response.status) { return report }
        let words = (report.errors + report.output).joined(separator: "\n")
        defer { trouble = words }
        return CommandReport(errors: words == trouble ? [] : [words])
    }

    /// The objects of the first array in a JSON text, each as it stands there.
    static func objects(in json: String) -> [String] {
        var objects: [String] = []
        var depth = 0
        var start: String.Index?
        var isText = false
        var isEscaped = false
        for index in json.utf8.indices {
            let byte = json.utf8[index]
            if isText {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else {
                    isText = byte != UInt8(ascii: "\"")
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isText = true
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                depth += 1
                if depth == 3 { start = index }
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                depth -= 1
                guard depth == 2, let begin = start else {
                    if depth < 2 { return objects }
                    continue
                }
                objects.append(String(json[begin...index]))
                start = nil
            default: break
            }
        }
        return objects
    }
}

extension EventsAnswer.Event {
    /// What is said of it, on lines of 80 columns.
    fileprivate var lines: [String] { wrapped(text, after: "\(instantText(at))  ", indentation: 4) }

    private var text: String {
        let unit = LimitUnit(unit)
        func amount(_ amount: Int) -> String { unit?.text(of: amount) ?? "\(amount)" }
        let name =
            switch threshold {
            case "quota": "the quota"
            case "soft_quota": "the soft quota"
            default: share.map { "\(shareText($0)) of the quota" } ?? threshold
            }
        let whole = quota.map { unit?.text(of: used, outOf: $0) ?? "\(used) of \($0)" } ?? amount(used)
        let owner = userId.map { "user \(printable($0))" } ?? groupId.map { "group \(printable($0))" } ?? "all users"
        let window = values.map { " with \(printable($0))" } ?? ""
        let span = windowSeconds.map { " in \(durationText(seconds: $0))" } ?? ""
        let end = periodEnd.map { ", until \(instantText($0))" } ?? ""
        let denies = mode == "enforce" ? "" : "; \(mode): it denies nobody"
        return "\(limitName): \(name) crossed, \(whole) used by \(owner)\(window)\(span)\(end)\(denies)"
    }

    /// A share as a percentage, at most with one digit behind the point.
    private func shareText(_ share: Double) -> String {
        let perMille = Int((share * 1_000).rounded())
        return perMille % 10 == 0 ? "\(perMille / 10)%" : "\(perMille / 10).\(perMille % 10)%"
    }
}
