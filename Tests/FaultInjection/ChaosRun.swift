import HistoryChecker
import Synchronization
import TestSupport

/// Daemons under load while one fault after the other is injected; every request is recorded and checked.
package final class ChaosRun: Sendable {
    package struct Options: Sendable {
        package var seconds: Double
        package var seed: UInt64
        package var traffic = Traffic.mixed
        package let topology: Topology
        package var faults: [Fault]
        package var pausesMilliseconds = 300...2_500
        package var clientsForEachDaemon = 5
        /// For how long one user is asked for.
        package var userSeconds = 8.0
        /// What the daemons that share windows run, one after the other.
        package var programs = [Daemon.program]

        package init(seconds: Double, seed: UInt64, on topology: Topology = .single) {
            self.seconds = seconds
            self.seed = seed
            self.topology = topology
            faults = topology.faults
        }
    }

    /// What a run says while it goes on.
    package struct Progress: Sendable {
        package var secondsPassed: Double
        package var faultsInjected: Int
        package var operationsChecked: Int
        package var violations: Int
        package var fault: String
    }

    private struct Checked {
        var operations = 0
        var unknown = 0
        var histories = 0
        var undecided = 0
        var callHistories = 0
        var callOperations = 0
        var touchedByLosses = 0
        var violations: [String] = []
    }

    package let options: Options
    package let testbed: Testbed
    package let statistics: Statistics
    private let checked = Mutex(Checked())
    private let log = Mutex<[String]>([])
    private static let shownViolations = 5

    package init(_ options: Options) throws {
        self.options = options
        testbed = try Testbed(options.traffic, on: options.topology, programs: options.programs)
        statistics = Statistics(kinds: options.faults.count)
    }

    /// Runs to the end; `report` is called now and then, on this thread.
    package func run(reporting report: (Progress) -> Void = { _ in }) throws -> ChaosReport {
        let start = monotonicMilliseconds()
        let end = start + options.seconds * 1_000
        let flag = Flag()
        let clients = startClients(until: flag)
        let sleeper = oversleep(until: flag)
        let isClosing = Flag()
        let checker = Background { [self] in
            // A history is checked as soon as it is whole, so that memory does not grow with the run's length.
            while !isClosing.isSet {
                checkComplete()
                pause(milliseconds: 100)
            }
        }
        var schedule = FaultSchedule(
            seed: options.seed, kinds: options.faults.count, pausesMilliseconds: options.pausesMilliseconds
        )
        var replaceAt = start
        var nextUser = 0
        var injected = 0
        let result = Result {
            while monotonicMilliseconds() < end {
                let entry = schedule.next()
                let pauseUntil = monotonicMilliseconds() + Double(entry.pauseMilliseconds)
                try rest(until: min(pauseUntil, end)) { report(progress(since: start, injected, "-")) }
                guard monotonicMilliseconds() < end else { break }
                report(progress(since: start, injected, options.faults[entry.fault].name))
                try inject(entry)
                injected += 1
                while replaceAt < monotonicMilliseconds() {
                    for group in testbed.groups { group.replaceUser(nextUser) }
                    nextUser += 1
                    replaceAt += options.userSeconds * 1_000 / Double(DaemonGroup.usersAtATime)
                    // A fault that took long does not cut the next ones' time short.
                    replaceAt = max(replaceAt, monotonicMilliseconds())
                }
            }
        }
        flag.set()
        let ended = clients.map { client in Result { try client.value() } }
        let overslept = try sleeper.value()
        for group in testbed.groups { group.retireAll() }
        let settling = Result { try testbed.settleEventually() }
        isClosing.set()
        _ = try checker.value()
        checkComplete()
        for outcome in ended + [result, settling] { try outcome.get() }
        return makeReport(injected: injected, overslept: overslept)
    }

    /// Lets the load go on. In a cluster what a call over several slots leaves to be done is settled meanwhile too, so that
    /// it is known for how long at most that was open.
    private func rest(until end: Double, _ report: () -> Void) throws {
        var settleAt = monotonicMilliseconds() + Self.settlesEachMilliseconds
        while monotonicMilliseconds() < end {
            pause(milliseconds: 50)
            report()
            guard testbed.store.hasSlots, monotonicMilliseconds() > settleAt else { continue }
            try testbed.settleEventually()
            settleAt = monotonicMilliseconds() + Self.settlesEachMilliseconds
        }
    }

    private static let settlesEachMilliseconds = 400.0

    private func inject(_ entry: FaultSchedule.Entry) throws {
        let fault = options.faults[entry.fault]
        statistics.began(entry.fault, atMicroseconds: systemMicroseconds())
        log.withLock { $0.append("\(fault.name) \(entry.draw.durationMilliseconds) \(entry.draw.target)") }
        do {
            try fault.inject(testbed, entry.draw)
            statistics.exactAgain(entry.fault, afterMilliseconds: try testbed.millisecondsUntilExact())
            try testbed.settleEventually()
        } catch { throw TestFailure("\(fault.name): \(error)") }
    }

    private func startClients(until flag: Flag) -> [Background<Void>] {
        var seed = options.seed
        var clients: [Background<Void>] = []
        for group in testbed.groups {
            for place in group.places {
                for _ in 0..<options.clientsForEachDaemon {
                    seed += 1
                    let client = group.clients(at: place, testbed, statistics, seed: seed)
                    clients.append(Background { try client.run(until: flag) })
                }
            }
        }
        return clients
    }

    private func progress(since start: Double, _ injected: Int, _ fault: String) -> Progress {
        checked.withLock { checked in
            Progress(
                secondsPassed: (monotonicMilliseconds() - start) / 1_000, faultsInjected: injected,
                operationsChecked: checked.operations + checked.callOperations, violations: checked.violations.count,
                fault: fault
            )
        }
    }

    private func makeReport(injected: Int, overslept: Double) -> ChaosReport {
        checked.withLock { checked in
            ChaosReport(
                seed: options.seed, topology: options.topology, traffic: options.traffic, seconds: options.seconds,
                rows: zip(options.faults.map(\.name) + ["before the first"], statistics.figures).map { ($0, $1) },
                injected: injected, operations: checked.operations, unknown: checked.unknown,
                histories: checked.histories, undecided: checked.undecided, calls: statistics.calls,
                callHistories: checked.callHistories, touchedByLosses: checked.touchedByLosses,
                unchecked: testbed.recorder.waiting,
                oversleptMilliseconds: overslept, schedule: log.withLock { $0 },
                violations: checked.violations
            )
        }
    }
}

// MARK: - Checking

extension ChaosRun {
    private func checkComplete() {
        checkCompleteUsers()
        checkCompleteTeams()
    }

    private func checkCompleteTeams() {
        for (log, history) in testbed.recorder.takeCompleteCalls() {
            let checker = CallHistoryChecker(CallLimits.contract(log.kind))
            let offending = history.counted.first { counted in
                let offences = checker.offences(of: counted)
                for offence in offences {
                    statistics.offended(
                        offence.offence, atMicroseconds: counted[offence.operation].startMicroseconds)
                }
                return !offences.isEmpty
            }
            let verdict = checker.verdict(of: offending ?? history.kept)
            checked.withLock { checked in
                checked.callHistories += 1
                checked.callOperations += history.kept.count
                checked.touchedByLosses += history.hasLosses ? 1 : 0
                guard case .violation(let evidence) = verdict, checked.violations.count < Self.shownViolations else {
                    return
                }
                checked.violations.append("\(log.kind) \(log.name): \(evidence)")
            }
        }
    }

    private func checkCompleteUsers() {
        for (log, history) in testbed.recorder.takeComplete() {
            let checker = HistoryChecker(log.contract)
            let offending = history.counted.first { counted in
                let offences = checker.offences(of: counted)
                for offence in offences { statistics.offended(offence.offence, atMicroseconds: offence.atMicroseconds) }
                return !offences.isEmpty
            }
            let verdict = checker.verdict(of: offending ?? history.kept)
            checked.withLock { checked in
                checked.operations += history.kept.count
                checked.unknown += history.kept.count { $0.outcome == .unknown }
                checked.histories += 1
                checked.touchedByLosses += history.hasLosses ? 1 : 0
                switch verdict {
                case .consistent: break
                case .undecided: checked.undecided += 1
                case .violation(let evidence):
                    if checked.violations.count < Self.shownViolations {
                        checked.violations.append("user \(log.user): \(evidence)")
                    }
                }
            }
        }
    }
}
