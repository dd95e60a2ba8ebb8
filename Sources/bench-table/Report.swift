import LoadGenerator

/// The table, in Markdown that also reads well on a terminal of 80 columns.
struct Report {
    let machine: Machine
    let results: Results
    let rounds: Int
    let seconds: Int
    let users: Int

    private static let header = ["asked, clients", "checks/s", "p50", "p99", "p99.9", "own", "Redis", "batch"]

    /// The table of Envoy's rate limit service.
    var rateLimitService: String {
        """
        # Benchmark of Envoy's rate limit service, \(machine.date)

        \(machine.lines.map { "- \($0)" }.joined(separator: "\n"))

        Medians of \(rounds) rounds, \(seconds) s each after 1 s of warm-up. Latency in µs.
        "own" and "Redis" are µs of CPU for each call, "batch" is calls in one call
        of the script. \(groupedText(users)) users, picked at random, \(Testbed.limit) calls an hour
        each; Redis is emptied before each measurement. Ratios are medians of each
        round's ratio.

        \(table(["asked, clients", "calls/s"] + Self.header.dropFirst(2), Scenario.ofRateLimitService.map(row)))

        - daemon: checks by HTTP, one on its way for each connection
        - gRPC: ShouldRateLimit as Envoy sends it, one descriptor with one entry;
          connections by calls on their way on each

        \(table(["to reach", "bound", "measured", ""], Target.rateLimitService(results).map(row)))

        \(notes.map { "- \($0)" }.joined(separator: "\n"))
        """
    }

    var markdown: String {
        let rows = Scenario.all.map(row)
        let header = Self.header
        return """
            # Benchmark of \(machine.date)

            \(machine.lines.map { "- \($0)" }.joined(separator: "\n"))

            Medians of \(rounds) rounds, \(seconds) s each after 1 s of warm-up. Latency in µs.
            "own" and "Redis" are µs of CPU for each check, "batch" is checks in one call
            of the script. \(groupedText(users)) users, picked at random, \(Testbed.limit) checks an hour
            each; Redis is emptied before each measurement. Ratios are medians of each
            round's ratio.

            \(table(header, rows))

            - daemon: checks through this daemon, all admitted unless noted
            - direct: the same script called straight in Redis, one EVALSHA a check
            - raw epoll: checks through a C program without framework or safety margins
            - denials: checks of one user without budget, through the daemon
            - empty, script: "return 1" and the script, straight in Redis, 16 clients
              with 16 calls on their way each

            Through the daemon, 64 connections:

            \(table(["under", "checks/s"] + header.dropFirst(2), Scenario.more.map(row)))

            - limits: of a file, all of the user who asks; 3 are requests by the hour,
              tokens by the day and money by the month, with a model and tokens in each
              body, 1 and 8 are of requests; 1 client asks for 1,000 users, who are
              known to the daemon by then
            - reserve + settle: 1,000 tokens and a slot held, 800 charged: two requests
              that count as one check, in "batch" as well
            - denials: of one user; 50,000 denied: of so many in turn, without a file,
              for \(Scenario.deniedUsers.leastSeconds) s: twice as long as a denial is remembered
            - 100,000 admissions: one user with so many in the window at the start
            - 1,000,000 users: all of whom have been seen before

            \(table(["to reach", "bound", "measured", ""], Target.all(results).map(row)))

            \(notes.map { "- \($0)" }.joined(separator: "\n"))
            """
    }

    private func row(_ scenario: Scenario) -> [String] {
        func cell(_ value: (Sample) -> Int?, _ show: (Int) -> String) -> String {
            results.median(scenario, value).map(show) ?? "-"
        }
        let processor = { (value: Int) in decimalText(UInt64(value), unit: 1_000, places: 2) }
        return [
            scenario.name, cell({ $0.checksPerSecond }, groupedText), cell({ $0.p50 }, microseconds),
            cell({ $0.p99 }, microseconds), cell({ $0.p999 }, microseconds), cell({ $0.ownProcessor }, processor),
            cell({ $0.redisProcessor }, processor), cell({ $0.callsPerMillion }, batch),
        ]
    }

    private func row(_ target: Target) -> [String] {
        let show = { (value: Int) in decimalText(UInt64(value), unit: 1_000, places: value >= 10_000 ? 1 : 2) }
        let bound =
            switch target.bound {
            case .atLeast(let value): "≥ \(show(value))"
            case .atMost(let value): "≤ \(show(value))"
            }
        return [target.name, bound, target.measured.map(show) ?? "-", target.verdict]
    }

    /// What the tables do not show: who was denied, what failed, how memory went.
    private var notes: [String] {
        var notes: [String] = []
        for scenario in Scenario.all + Scenario.more + Scenario.ofRateLimitService {
            let failed = results.values(scenario) { $0.failed }.reduce(0, +)
            if failed > 0 { notes.append("\(scenario.name): \(groupedText(failed)) answers failed or were degraded") }
            let denied = results.values(scenario) { $0.deniedPerMillion }.max() ?? 0
            if denied > 0, !scenario.isOfDenials {
                notes.append(
                    "\(scenario.name): up to \(decimalText(UInt64(denied), unit: 10_000, places: 2)) % were denied")
            }
        }
        for scenario in [Scenario.denials, .limitDenials, .deniedUsers] {
            guard let denied = results.median(scenario, { $0.deniedPerMillion }) else { continue }
            notes.append("\(scenario.name): \(decimalText(UInt64(denied), unit: 10_000, places: 2)) % were denied")
        }
        if let memory = results.memory {
            func course(_ value: (MemoryReading) -> Int) -> String {
                [memory.before, memory.middle, memory.after].map { groupedText(value($0)) }.joined(separator: ", ")
            }
            notes.append(
                "RSS before, halfway and after \(groupedText(memory.checks)) checks: \(course { $0.resident }) KiB")
            notes.append("anonymous memory of it, without the program's pages: \(course { $0.anonymous }) KiB")
            notes.append("of these checks \(memory.deniedPercent) % were denied")
        }
        return notes.isEmpty ? ["everything measured was admitted"] : notes
    }

    private func microseconds(_ nanoseconds: Int) -> String {
        decimalText(UInt64(nanoseconds), unit: 1_000, places: nanoseconds < 100_000 ? 1 : 0)
    }

    private func batch(_ callsPerMillion: Int) -> String {
        guard callsPerMillion >= 1_000 else { return "-" }
        // The text is cut off behind its last place: half a place more rounds it.
        return decimalText(1_000_000_000 / UInt64(callsPerMillion) + 50, unit: 1_000, places: 1)
    }

    /// The first column to the left, the others to the right.
    private func table(_ header: [String], _ rows: [[String]]) -> String {
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        func line(_ cells: [String]) -> String {
            let padded = cells.enumerated().map { column, cell in
                let space = String(repeating: " ", count: widths[column] - cell.count)
                return column == 0 ? cell + space : space + cell
            }
            return "| " + padded.joined(separator: " | ") + " |"
        }
        let rule = widths.enumerated().map { column, width in
            String(repeating: "-", count: width + 1) + (column == 0 ? "-" : ":")
        }
        return ([line(header), "|" + rule.joined(separator: "|") + "|"] + rows.map(line)).joined(separator: "\n")
    }
}
