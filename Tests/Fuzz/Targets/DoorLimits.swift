import CoreMetrics
import LimitsFile
import Logging
import NIOCore
import NIOPosix
import RateLimitCore
import RedisClient
import TestSupport

@testable import RateLimitService

/// Under which limits, and by which rules for callers, calls are made at both doors.
struct DoorLimits {
    var policy: CheckPolicy
    var callers = CallerRules()

    /// - Parameters:
    ///   - file: a limits file; empty for the limit of checks alone.
    ///   - headers: which say what of a call.
    init(
        file: String, groupsAreGiven: Bool = true, isShadow: Bool = false, denyCacheMilliseconds: Int = 0,
        callers: CallerRules = CallerRules(), headers: String = ""
    ) throws {
        let limit = Limit(name: "requests", quota: 100, windowMilliseconds: 60_000)
        var limits = LimitsInForce.none
        if !file.isEmpty {
            let content = try LimitsFileContent(
                reading: Array(file.utf8), timeZones: TimeZoneFolder(path: "/nonexistent"))
            let requests = LimitDefinition(
                name: .requests, scope: .user, unit: .requests, quota: 100, window: .sliding(milliseconds: 60_000))
            limits = LimitsInForce(
                rules: QuotaRules(
                    limits: try LimitSet([requests] + content.limits.limits), policy: content.groupPolicy),
                prices: content.prices, groupsAreGiven: groupsAreGiven,
                leases: LeaseTimes(usualMilliseconds: content.leaseMilliseconds))
        }
        policy = CheckPolicy(
            limit: limit, limits: limits, isShadow: isShadow, denyCacheMilliseconds: denyCacheMilliseconds)
        self.callers = callers
        if !headers.isEmpty { self.callers.headers = try HeaderMap(headers) }
    }

    /// All of them: each makes other plans.
    static func all() throws -> [DoorLimits] {
        let headers = "group=X-Team,group=X-Org,model=X-Model,provider=X-Provider,label.team=X-Tenant"
        return [
            try DoorLimits(file: "", callers: CallerRules(idHeader: HeaderName("X-Request-Id"))),
            try DoorLimits(
                file: """
                    limits:
                      - {name: tpm, per: user, unit: tokens, quota: 1000, window: 1m}
                      - {name: out, per: user, unit: tokens.output, quota: 500, window: 1m, match: {model: "gpt-4*"}}
                      - {name: team, per: group, unit: spend, quota: $5, window: 1d}
                      - {name: open, per: user, unit: concurrency, quota: 4}
                      - {name: labelled, per: user, unit: requests, quota: 9, window: 1h, match: {team: [x, "y*"]}}
                      - {name: azure, per: global, unit: requests, quota: 99, window: 1h, match: {provider: azure}}
                    prices:
                      unknown_model: deny
                      models: {"gpt-4*": {input: 2500000, output: 10000000}, free: {input: 0, output: 0}}
                    """, headers: headers),
            try DoorLimits(
                file: """
                    limits:
                      - {name: by-model, per: [user, model], unit: tokens, quota: 1000, window: 1d, max_values: 50}
                      - {name: by-team, per: "label:team", unit: requests, quota: 600, window: 1m}
                      - {name: in-group, per: [user, group], unit: requests, quota: 5, window: 1m}
                      - {name: session, per: [user, "label:session"], unit: spend, quota: $2, window: 1d, missing: deny}
                    prices: {unknown_model: free, models: {gpt-4o: {input: 2500000, output: 10000000}}}
                    lease: {ttl: 30s}
                    """, denyCacheMilliseconds: 900, headers: headers + ",label.session=X-Request-Id"),
            try DoorLimits(
                file: """
                    limits:
                      - {name: month, per: group, unit: spend, window: {calendar: month}}
                      - {name: trial, per: user, unit: tokens.input, quota: 50, window: 1d, mode: shadow}
                      - {name: closed, per: user, unit: requests, quota: 5, window: 1m, on_redis_failure: closed}
                      - {name: all, per: global, unit: concurrency, quota: 4}
                    prices: {unknown_model: {price-of: gpt-4o}, models: {gpt-4o: {input: 2500000, output: 10000000}}}
                    """, groupsAreGiven: false, isShadow: true,
                callers: try callersByToken(), headers: headers),
            try DoorLimits(
                file: """
                    limits: [{name: spend, per: user, unit: spend, quota: $1, window: 1h, match: {team: x}}]
                    """, callers: CallerRules(idHeader: HeaderName("X-Request-Id")), headers: headers),
        ]
    }

    private static func callersByToken() throws -> CallerRules {
        CallerRules(
            userHeader: nil, tokenKey: TokenKey(secret: "a secret of more than sixteen bytes"),
            trustedProxies: try TrustedProxies("unix,10.0.0.0/8,fd00::/8"), idHeader: HeaderName("X-Request-Id"))
    }
}

// MARK: - Services

extension DoorLimits {
    /// Both doors under these limits, connected; called off the event loop.
    func pair(in folder: TemporaryFolder, eventLoop: any EventLoop) async throws -> NIOLoopBound<DoorPair> {
        let http = try await side("h", in: folder, eventLoop: eventLoop)
        let grpc = try await side("g", in: folder, eventLoop: eventLoop)
        return try await eventLoop.submit {
            NIOLoopBound(DoorPair(self, http: http.value, grpc: grpc.value), eventLoop: eventLoop)
        }.get()
    }

    private func side(
        _ name: String, in folder: TemporaryFolder, eventLoop: any EventLoop
    ) async throws -> NIOLoopBound<DoorPair.Side> {
        let path = folder.file("\(name)-\(UInt32.random(in: 0 ... .max))")
        let redis = try await eventLoop.submit { NIOLoopBound(NotingRedis(), eventLoop: eventLoop) }.get()
        _ = try await NotingRedis.listen(on: path, eventLoop: eventLoop, redis).get()
        var options = CheckServiceOptions(
            redis: .single(RedisEndpoint(address: .unix(path: path))), deadlineMilliseconds: 60_000)
        options.heartbeatInterval = .hours(24)
        let service = try await CheckService.make(
            options: options, policy: policy, eventLoops: [eventLoop],
            metrics: CheckMetrics(factory: NOOPMetricsHandler.instance),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        await service.start(patience: .seconds(30))
        return try await eventLoop.submit {
            let side = DoorPair.Side(service: service, engine: service.engine(on: eventLoop), redis: redis.value)
            return NIOLoopBound(side, eventLoop: eventLoop)
        }.get()
    }
}
