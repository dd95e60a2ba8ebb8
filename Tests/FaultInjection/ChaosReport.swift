import Foundation
import HistoryChecker

/// What a run found, as one table and a verdict.
package struct ChaosReport: Sendable {
    package let seed: UInt64
    package let topology: Topology
    package let traffic: Traffic
    package let seconds: Double
    package let rows: [(name: String, figures: FaultFigures)]
    package let injected: Int
    package let operations: Int
    package let unknown: Int
    package let histories: Int
    package let undecided: Int
    package let calls: CallFigures
    /// Of users, teams and all, that calls were made under.
    package let callHistories: Int
    /// Histories in whose time a failover may have lost what was acknowledged just before it.
    package let touchedByLosses: Int
    /// Histories that were never whole.
    package let unchecked: Int
    package let oversleptMilliseconds: Double
    /// The faults in their order.
    package let schedule: [String]
    package let violations: [String]

    package var deniedWrongly: Int { rows.reduce(0) { $0 + $1.figures.deniedWrongly } }
    package var admittedOver: Int { rows.reduce(0) { $0 + $1.figures.admittedOver } }

    package var isClean: Bool { violations.isEmpty && deniedWrongly == 0 && admittedOver == 0 && unchecked == 0 }

    /// The table, 80 columns wide, with the verdict below it.
    package var description: String {
        var lines = [
            Self.row("fault", "times", "slowest", "denied", "over the", "exact again"),
            Self.row("", "", "answer ms", "wrongly", "limit", "after ms"),
            String(repeating: "-", count: 80),
        ]
        for (name, figures) in rows where figures.answers > 0 || figures.injected > 0 {
            lines.append(
                Self.row(
                    name, figures.injected > 0 ? "\(figures.injected)" : "",
                    Self.decimal(Double(figures.slowestMicroseconds) / 1_000), "\(figures.deniedWrongly)",
                    "\(figures.admittedOver)",
                    figures.injected > 0 ? Self.decimal(figures.slowestExactMilliseconds) : ""
                )
            )
        }
        lines.append(String(repeating: "-", count: 80))
        lines.append(
            "seed \(seed), \(Int(seconds)) s, \(injected) faults, \(topology.rawValue), traffic: \(traffic.rawValue);")
        if traffic != .calls {
            lines += [
                "\(operations) requests of \(histories) users, \(unknown) of them without a decision,",
                "\(undecided) users' histories undecided;",
            ]
        }
        if traffic != .checks {
            func list(_ counts: [String: Int]) -> String {
                counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            }
            lines += [
                "\(calls.operations) calls, \(calls.unknown) of them without an answer that tells, in \(callHistories) histories;",
                "  " + list(calls.kinds) + ";", "  denied by " + list(calls.denials) + ";",
            ]
        }
        lines += [
            "the machine let a sleeping thread oversleep by up to \(Self.decimal(oversleptMilliseconds)) ms"
        ]
        if touchedByLosses > 0 {
            lines.append(
                "in \(touchedByLosses) histories a failover may have forgotten what was acknowledged just before it")
        }
        if unchecked > 0 { lines.append("\(unchecked) histories were never whole, and are not checked") }
        lines += violations
        lines.append(isClean ? "verdict: exact" : "verdict: VIOLATED")
        return lines.joined(separator: "\n")
    }

    private static func decimal(_ value: Double) -> String { String(format: "%.1f", value) }

    private static func row(_ cells: String...) -> String {
        let widths = [25, 6, 11, 10, 10, 13]
        var row = ""
        for (index, (cell, width)) in zip(cells, widths).enumerated() {
            let space = String(repeating: " ", count: max(0, width - cell.count))
            row += index == 0 ? cell + space : space + cell
        }
        while row.last == " " { row.removeLast() }
        return row
    }
}
