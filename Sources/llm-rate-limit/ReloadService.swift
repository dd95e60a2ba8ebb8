import CoreMetrics
import DaemonConfiguration
import Glibc
import HTTPServer
import Listeners
import Logging
import RateLimitService
import ServiceLifecycle
import StructuredLog
import UnixSignals

/// Reads the configuration again, on SIGHUP and where a file of limits changes, and puts in force what may change while
/// the daemon runs.
struct ReloadService: Service {
    let reloader: Reloader
    let notifier: ServiceNotifier
    let hangUps: UnixSignalsSequence

    /// How often the files are looked at.
    private static let lookInterval = Duration.milliseconds(500)

    func run() async throws {
        await withTaskGroup { tasks in
            tasks.addTask {
                for await _ in hangUps.cancelOnGracefulShutdown() {
                    notifier.reloading()
                    await reloader.hangUp()
                    notifier.ready()
                }
            }
            tasks.addTask {
                await cancelWhenGracefulShutdown {
                    while !Task.isCancelled {
                        await reloader.look(at: .now)
                        try? await Task.sleep(for: Self.lookInterval)
                    }
                }
            }
        }
    }
}

/// Reads the parts of the configuration, one reading at a time, and tells of each how it went.
///
/// Whoever sends SIGHUP says that all files are written: they are read at once. A file of limits that changes is read
/// once it has held still. A reading that fails is done again until it succeeds, that of SIGHUP too: the signal asked for the
/// files to be put in force, and they would otherwise stay unread when the slip in them is mended.
actor Reloader {
    private let loader: ConfigurationLoader
    private let inForce: ConfigurationInForce
    private let logger: Logger
    private let metrics: ReloadMetrics
    private let apply: @Sendable (Settings) -> Void

    /// The watches over the files of the parts that are in files of their own.
    private var watches: [ConfigurationPart: (path: String, watch: FileWatch)] = [:]
    /// Watches the env file while a SIGHUP is not done yet.
    private var optionsWatch: FileWatch?
    /// What was warned of, so that it is not told again at each reload.
    private var told: Set<String>

    /// Begins with a configuration that is in force and whose warnings were told.
    ///
    /// - Parameter apply: puts settings in force, wherever they are needed.
    init(
        loader: ConfigurationLoader, inForce: ConfigurationInForce, metrics: ReloadMetrics, logger: Logger,
        apply: @escaping @Sendable (Settings) -> Void
    ) {
        self.loader = loader
        self.inForce = inForce
        self.metrics = metrics
        self.logger = logger
        self.apply = apply
        told = Set(inForce.value.warnings)
        metrics.report(inForce.value, inForce.readings)
    }

    /// Reads everything at once.
    func hangUp() {
        let reloaded = loader.reload(replacing: inForce.value)
        take(reloaded, of: ConfigurationPart.allCases, isAsked: true)
        optionsWatch = reloaded.failures[.options] == nil ? nil : FileWatch()
        // What was read may not have been all that is being written: it is read once more when it has held still.
        watches = [:]
    }

    /// Looks whether a file is to be read.
    func look(at now: ContinuousClock.Instant) {
        look(at: .limits, inForce.value.settings.limitsFile?.path, now)
        look(at: .descriptors, inForce.value.settings.envoyConfiguration?.path, now)
        let path = inForce.value.settings.envFile ?? ""
        let state = FileState(path: path)
        guard optionsWatch?.look(state, at: now) == true else { return }
        let reloaded = loader.reload(replacing: inForce.value, readsFiles: false)
        guard FileState(path: path) == state else { return }
        take(reloaded, of: [.options], isAsked: false)
        optionsWatch?.didRead(isInForce: false, at: now)
        if reloaded.failures[.options] == nil { optionsWatch = nil }
    }

    private func look(at part: ConfigurationPart, _ path: String?, _ now: ContinuousClock.Instant) {
        guard let path else {
            watches[part] = nil
            return
        }
        var watch = watches[part].flatMap { $0.path == path ? $0.watch : nil } ?? FileWatch()
        defer { watches[part] = (path, watch) }
        let state = FileState(path: path)
        guard watch.look(state, at: now) else { return }
        let reloaded = loader.reload(part, replacing: inForce.value)
        // Where it has changed meanwhile, what was read is of no state that there was.
        guard FileState(path: path) == state else { return }
        take(reloaded, of: [part], isAsked: false)
        watch.didRead(isInForce: reloaded.failures[part] == nil, at: now)
    }

    /// Puts in force what could be read, and says so where something has changed or somebody asked.
    private func take(_ reloaded: ReloadedConfiguration, of parts: [ConfigurationPart], isAsked: Bool) {
        var readings = inForce.readings
        var isNews = false
        for part in parts {
            let error = reloaded.failures[part]
            let differs = readings[part].note(error, at: time(nil))
            isNews = isNews || differs && error == nil
            for problem in error?.problems ?? [] where differs || isAsked {
                logger.error("configuration kept as it was: \(problem)", metadata: ["kept": "\(part.rawValue)"])
            }
            if error != nil { metrics.countFailure(of: part) }
        }
        let former = inForce.value
        inForce.replace(reloaded.configuration, readings: readings)
        metrics.report(reloaded.configuration, readings)
        if former.settings != reloaded.configuration.settings { apply(reloaded.configuration.settings) }
        if parts.contains(.options), reloaded.failures[.options] == nil { tellWarnings(reloaded) }
        let isAnswer = isAsked && reloaded.failures[.options] == nil
        guard isNews || isAnswer || !reloaded.changes.isEmpty else { return }
        let changes = reloaded.changes.isEmpty ? "none" : reloaded.changes.joined(separator: "; ")
        logger.notice("configuration reloaded", metadata: ["changes": "\(changes)"])
    }

    private func tellWarnings(_ reloaded: ReloadedConfiguration) {
        let restarts = reloaded.needRestart.map { "changes only with a restart: \($0)" }
        let warnings = reloaded.configuration.warnings + restarts
        for warning in warnings where !told.contains(warning) { logger.warning("\(warning)") }
        told = Set(warnings)
    }
}
