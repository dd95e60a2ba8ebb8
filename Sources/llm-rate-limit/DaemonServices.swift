import DaemonConfiguration
import DecisionTracing
import HTTPServer
import Listeners
import Logging
import NIOCore
import RateLimitCore
import RateLimitService
import ServiceLifecycle
import UnixSignals

/// Accepts from the moment everything is ready until a signal to stop, then drains, and ends.
struct DaemonService: Service {
    let sockets: ListeningSockets
    let servers: DaemonServers
    let service: CheckService
    let notifier: ServiceNotifier
    let logger: Logger
    let inForce: ConfigurationInForce
    /// The first begins the drain, the second ends it.
    let stopSignals: UnixSignalsSequence

    func run() async throws {
        let settings = inForce.value.settings
        let supervisor = try await ListenerSupervisor(sockets, servers: servers, logger: logger)
        announce(settings)
        notifier.ready(status: "serving")

        await withTaskGroup { tasks in
            // The sequence of signals can be waited for in one place alone.
            let (stops, stop) = AsyncStream.makeStream(of: UnixSignal.self)
            tasks.addTask { for await signal in stopSignals { stop.yield(signal) } }
            do {
                async let _: Void = supervisor.watch()
                await Self.next(of: stops)
            }
            await drain(settings, until: stops)
            tasks.cancelAll()
        }
        await supervisor.close()
        // Whoever has asked by now gets a decision, which is there when Redis's deadline is over.
        await servers.close(patience: .milliseconds(Int64(settings.redisTimeoutMilliseconds + Self.lastMilliseconds)))
        await service.events.finish(patience: .milliseconds(Self.eventMilliseconds))
        await service.stop()
        logger.notice("stopped")
    }

    /// How long the end takes at most behind the drain and the last decisions.
    private static let lastMilliseconds = 600
    /// How long events that wait are delivered behind that.
    private static let eventMilliseconds = 2_000

    /// Serves on until no connection is open, the time is over, or another signal comes.
    private func drain(_ settings: Settings, until stops: AsyncStream<UnixSignal>) async {
        servers.beginDraining()
        let patience = settings.drainTimeoutMilliseconds
        logger.notice(
            "draining", metadata: ["patience_ms": "\(patience)", "connections": "\(servers.http.connections)"]
        )
        notifier.stopping(
            withinMilliseconds: patience + settings.redisTimeoutMilliseconds + 2 * Self.lastMilliseconds
                + Self.eventMilliseconds
                + (settings.tracing.spansURL == nil ? 0 : SpanExporter.lastMilliseconds)
        )
        await withTaskGroup { tasks in
            tasks.addTask { await servers.http.waitUntilUnused(patience: .milliseconds(Int64(patience))) }
            tasks.addTask { await Self.next(of: stops) }
            await tasks.next()
            tasks.cancelAll()
        }
    }

    private static func next(of signals: AsyncStream<UnixSignal>) async {
        for await _ in signals { return }
    }

    private func announce(_ settings: Settings) {
        logger.notice(
            "serving",
            metadata: [
                "version": "\(programVersion)",
                "listening": "\(sockets.all.map(\.name).joined(separator: " "))",
                "redis": "\(settings.redis)",
                "requests": "\(settings.requests)",
                "window_seconds": "\(settings.windowSeconds)",
                "failure_mode": "\(settings.failureMode.rawValue)",
            ]
        )
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
