import DaemonConfiguration
import Gateway
import Glibc
import Listeners
import Logging
import NIOCore
import RateLimitService
import ServiceLifecycle
import StructuredLog
import UnixSignals

/// Accepts from the moment everything is ready until shutdown, then drains.
struct DaemonService: Service {
    let doors: Doors
    let server: GatewayServer
    let service: CheckService
    let notifier: ServiceNotifier
    let logger: Logger
    let inForce: ConfigurationInForce

    func run() async throws {
        let settings = inForce.value.settings
        let openDoors = try await OpenDoors(doors, server: server, logger: logger)
        announce(settings)
        notifier.ready(status: "serving")

        await cancelWhenGracefulShutdown { await openDoors.watch() }

        notifier.stopping()
        logger.notice("draining", metadata: ["patience_ms": "\(settings.drainTimeoutMilliseconds)"])
        await openDoors.close()
        await server.drain(patience: .milliseconds(Int64(settings.drainTimeoutMilliseconds)))
        await service.stop()
        logger.notice("stopped")
    }

    private func announce(_ settings: Settings) {
        logger.notice(
            "serving",
            metadata: [
                "version": "\(programVersion)",
                "listening": "\(doors.all.map(\.name).joined(separator: " "))",
                "redis": "\(settings.redis)",
                "requests": "\(settings.requests)",
                "window_seconds": "\(settings.windowSeconds)",
                "failure_mode": "\(settings.failureMode.rawValue)",
            ]
        )
        if settings.isShadow { logger.warning("shadow mode: denials are counted and reported, and everybody passes") }
    }
}

/// Reads the configuration again on SIGHUP and puts in force what may change while the daemon runs.
struct ReloadService: Service {
    let loader: ConfigurationLoader
    let inForce: ConfigurationInForce
    let service: CheckService
    let server: GatewayServer
    let output: LogOutput
    let notifier: ServiceNotifier
    let logger: Logger
    let hangUps: UnixSignalsSequence

    /// How often the limits file is looked at.
    private static let watchInterval = Duration.milliseconds(500)

    func run() async throws {
        await withTaskGroup { tasks in
            tasks.addTask {
                for await _ in hangUps.cancelOnGracefulShutdown() {
                    notifier.reloading()
                    reload()
                    notifier.ready()
                }
            }
            tasks.addTask { await cancelWhenGracefulShutdown { await watchLimitsFile() } }
        }
    }

    /// Reads the limits file again whenever it is another than before, by what the file system says of it.
    private func watchLimitsFile() async {
        var known: FileState?
        while !Task.isCancelled {
            if let path = inForce.value.settings.limitsFile?.path {
                let state = FileState(path: path)
                if state != known { reload(only: .limitsFile) }
                known = state
            }
            try? await Task.sleep(for: Self.watchInterval)
        }
    }

    private func reload(only: OptionName? = nil) {
        inForce.change {
            do throws(ConfigurationError) {
                let reloaded = try loader.reload(replacing: inForce.value, only: only)
                // Where one file is looked at, the others' oddities were told before.
                if only != nil, reloaded.applied.isEmpty { return }
                for warning in reloaded.configuration.warnings { logger.warning("\(warning)") }
                inForce.value = reloaded.configuration
                output.level = reloaded.configuration.settings.logLevel
                service.apply(CheckPolicy(reloaded.configuration.settings))
                server.policyDidChange()
                for change in reloaded.needRestart { logger.warning("changes only with a restart: \(change)") }
                let changes = reloaded.applied.map(\.description).joined(separator: ", ")
                logger.notice("configuration reloaded", metadata: ["changes": "\(changes.isEmpty ? "none" : changes)"])
            } catch {
                for problem in error.problems { logger.error("configuration kept as it was: \(problem)") }
            }
        }
    }
}

/// What the file system says of a file: another one in its place, or a change, shows in it.
private struct FileState: Equatable {
    let device: dev_t
    let number: ino_t
    let size: off_t
    let seconds: Int
    let nanoseconds: Int

    /// Nil where there is none.
    init?(path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = status.st_dev
        number = status.st_ino
        size = status.st_size
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
    }
}

/// Tells systemd's watchdog that every event loop still turns: a loop that hangs lets the watchdog act.
struct WatchdogService: Service {
    let notifier: ServiceNotifier
    let eventLoops: [any EventLoop]

    func run() async throws {
        guard let interval = notifier.watchdogInterval else {
            try? await gracefulShutdown()
            return
        }
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                for eventLoop in eventLoops { try? await eventLoop.submit {}.get() }
                notifier.watchdog()
                try? await Task.sleep(for: interval)
            }
        }
    }
}
