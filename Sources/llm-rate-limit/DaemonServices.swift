import DaemonConfiguration
import Gateway
import Listeners
import Logging
import NIOCore
import RateLimitService
import ServiceLifecycle

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
