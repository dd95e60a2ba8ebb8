import FoundationEssentials
import Testing

@testable import DaemonConfiguration

@Suite("The record of readings")
struct ReadingRecordTests {
    private struct Health: Decodable, Equatable {
        struct Problem: Decodable, Equatable { var part: String, since: Int, problem: String }
        var state: String
        var problems: [Problem]
    }

    private func error(_ value: String) -> ConfigurationError? {
        do throws(ConfigurationError) {
            _ = try ConfigurationLoader(flags: [.requests: value], environment: [:]).load()
            return nil
        } catch {
            return error
        }
    }

    private func health(_ records: ReadingRecords) throws -> Health {
        try JSONDecoder().decode(Health.self, from: Data(records.healthJSON().utf8))
    }

    @Test("says since when a part is stale and why, and no more once it is current")
    func failures() throws {
        var records = ReadingRecords(startedAt: 100)
        #expect(try health(records) == Health(state: "current", problems: []))
        // The same again is no news; another reason is, and the time stays that of the first failure.
        let readings = [("a", 110), ("a", 120), ("b\"\n", 130)]
        #expect(readings.map { records[.limits].note(error($0), at: $1) } == [true, false, true])
        #expect(records[.limits].failures == 3 && records[.limits].lastSuccess == 100)
        let stale = try health(records)
        #expect(stale.state == "stale" && stale.problems.map(\.part) == ["limits"] && stale.problems[0].since == 110)
        #expect(stale.problems[0].problem.hasPrefix(#"cannot use LLM_RATE_LIMIT_REQUESTS=b"\n (flag --requests): "#))
        #expect(records[.options].problem == nil)

        #expect([140, 150].map { records[.limits].note(nil, at: $0) } == [true, false])
        #expect(records[.limits].failures == 3 && records[.limits].lastSuccess == 150)
        #expect(try health(records) == Health(state: "current", problems: []))
    }

    @Test("keeps a bounded text, whatever was in the files")
    func bound() {
        var record = ReadingRecord(startedAt: 0)
        let problem = error("a")!.problems[0]
        record.note(ConfigurationError(problems: Array(repeating: problem, count: 1_000), warnings: []), at: 1)
        #expect(record.problem!.text.unicodeScalars.count == ReadingRecord.Problem.maximumCharacters + 1)
    }
}
