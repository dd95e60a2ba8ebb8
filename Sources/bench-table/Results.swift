/// The samples of every scenario, one for each round.
struct Results {
    private var samples: [Scenario: [Sample]] = [:]
    var memory: MemoryCourse?
    var pairMemory: PairMemory?
    /// Nanoseconds from the daemon's start to its first answer.
    var firstAnswers: [Int] = []

    mutating func add(_ sample: Sample, to scenario: Scenario) {
        samples[scenario, default: []].append(sample)
    }

    /// Of each round's sample one number; empty where the scenario was not measured.
    func values(_ scenario: Scenario, _ value: (Sample) -> Int?) -> [Int] {
        (samples[scenario] ?? []).compactMap(value)
    }

    /// The median over the rounds.
    func median(_ scenario: Scenario, _ value: (Sample) -> Int?) -> Int? {
        Self.median(values(scenario, value))
    }

    /// How much a number of one scenario is of a number of another, in thousandths: the ratio of each round, of these
    /// the median, so that a drift of the machine counts for both sides.
    func ratio(
        _ scenario: Scenario, _ value: (Sample) -> Int?, to other: Scenario, _ otherValue: (Sample) -> Int?
    ) -> Int? {
        let pairs = zip(values(scenario, value), values(other, otherValue))
        return Self.median(pairs.map { $0 * 1_000 / max($1, 1) })
    }

    /// The middle one, or the lower of the two in the middle; nil of none.
    static func median(_ values: [Int]) -> Int? {
        values.isEmpty ? nil : values.sorted()[(values.count - 1) / 2]
    }
}

/// One thing to reach, with its measured value in thousandths.
struct Target {
    enum Bound {
        case atLeast(Int)
        case atMost(Int)
    }

    let name: String
    let bound: Bound
    let measured: Int?

    var reached: Bool? {
        measured.map { value in
            switch bound {
            case .atLeast(let wanted): value >= wanted
            case .atMost(let wanted): value <= wanted
            }
        }
    }

    /// "reached", or by how many percent of the bound it was missed.
    var verdict: String {
        guard let measured, let reached else { return "not measured" }
        if reached { return "reached" }
        switch bound {
        case .atMost(let wanted) where measured >= 3 * wanted:
            return "missed, \(measured / wanted)-fold"
        case .atLeast(let wanted), .atMost(let wanted):
            return "missed by \((abs(measured - wanted) * 100 + wanted - 1) / wanted) %"
        }
    }

    /// Everything that is to be reached.
    static func all(_ results: Results) -> [Target] { checks(results) + calls(results) }

    /// What Envoy's rate limit service is to reach: four times what envoyproxy/ratelimit did on such a machine.
    static func rateLimitService(_ results: Results) -> [Target] {
        let spread = Scenario.rateLimitService(8, 8)
        let p50 = { (sample: Sample) in Optional(sample.p50) }
        return [
            .init("thousand calls/s, 8 × 8", .atLeast(65_000), results.median(spread) { $0.checksPerSecond }),
            .init("daemon CPU for a call, 8 × 8, µs", .atMost(12_000), results.median(spread) { $0.ownProcessor }),
            .init(
                "p50, gRPC : HTTP, one call under way", .atMost(1_500),
                results.ratio(.rateLimitService(1, 1), p50, to: .daemon(1), p50)),
        ]
    }

    /// What calls under limits of a file are to reach, most of it against plain checks.
    private static func calls(_ results: Results) -> [Target] {
        let rate = { (sample: Sample) in Optional(sample.checksPerSecond) }
        let p50 = { (sample: Sample) in Optional(sample.p50) }
        let plain = Scenario.daemon(64)
        let rows: [(name: String, scenario: Scenario, rate: Int, redis: Int, own: Int)] = [
            ("one limit", .limits(1), 750, 1_600, 1_700), ("three limits", .limits(3), 550, 2_300, 2_200),
            ("reserve + settle", .reservations, 250, 4_500, 4_500),
        ]
        let processor = { (value: KeyPath<Sample, Int?>) in { (sample: Sample) in sample[keyPath: value] } }
        let (redis, own) = (processor(\.redisProcessor), processor(\.ownProcessor))
        let resident = results.values(.deniedUsers) { $0.residentKibibytes }.max()
        return rows.map {
            .init("rate, \($0.name) : plain", .atLeast($0.rate), results.ratio($0.scenario, rate, to: plain, rate))
        }
            + rows.map {
                .init(
                    "Redis CPU, \($0.name) : plain", .atMost($0.redis),
                    results.ratio($0.scenario, redis, to: plain, redis))
            }
            + rows.map {
                .init(
                    "daemon CPU, \($0.name) : plain", .atMost($0.own), results.ratio($0.scenario, own, to: plain, own))
            } + [
                .init(
                    "p50 at 1, three limits : plain", .atMost(1_350),
                    results.ratio(.limits(3, 1), p50, to: .daemon(1), p50)),
                .init(
                    "rate, denials under limits : plain", .atLeast(700),
                    results.ratio(.limitDenials, rate, to: .denials, rate)),
                .init(
                    "Redis calls in 1,000 of them", .atMost(1_000), results.median(.limitDenials) { $0.callsPerMillion }
                ),
                .init(
                    "same, 50,000 users in turn", .atMost(5_000), results.median(.deniedUsers) { $0.callsPerMillion }),
                .init("RSS then, MiB", .atMost(30_000), resident.map { $0 * 1_000 / 1_024 }),
                .init("bytes a pair leaves in Redis", .atMost(24_000), results.pairMemory?.bytesPerThousandPairs),
                .init("keys more for a user with pairs", .atMost(2_000), results.pairMemory?.keysPerThousandUsers),
            ]
    }

    private static func checks(_ results: Results) -> [Target] {
        let rate = { (sample: Sample) in Optional(sample.checksPerSecond) }
        let own = \Sample.ownProcessor
        let redis = \Sample.redisProcessor
        let p50 = { (sample: Sample) in Optional(sample.p50) }
        let daemon = Scenario.daemon(64)
        let direct = Scenario.direct(64)
        let resident = results.values(.daemon(256)) { $0.residentKibibytes }.max()
        let calls = results.median(.denials) { $0.callsPerMillion }
        let growth = results.memory.map { $0.after.resident * 1_000 / max($0.before.resident, 1) }
        return [
            .init("checks/s, daemon : direct, at 64", .atLeast(1_400), results.ratio(daemon, rate, to: direct, rate)),
            .init(
                "Redis CPU, daemon : direct, at 64", .atMost(550),
                results.ratio(daemon, { $0[keyPath: redis] }, to: direct, { $0[keyPath: redis] })),
            .init(
                "daemon CPU : Redis CPU, pipelined", .atMost(550),
                results.ratio(daemon, { $0[keyPath: own] }, to: .pipelined, { $0[keyPath: redis] })),
            .init(
                "daemon CPU : raw epoll CPU, at 64", .atMost(1_300),
                results.ratio(daemon, { $0[keyPath: own] }, to: .rawEpoll, { $0[keyPath: own] })),
            .init(
                "Redis CPU, three limits : one", .atMost(1_600),
                results.ratio(.limits(3), { $0[keyPath: redis] }, to: .limits(1), { $0[keyPath: redis] })),
            .init("p50, daemon : direct, at 1", .atMost(1_900), results.ratio(.daemon(1), p50, to: .direct(1), p50)),
            .init(
                "checks/s, denials : allowed, at 64", .atLeast(1_500), results.ratio(.denials, rate, to: daemon, rate)),
            .init("Redis calls in 1,000 denials", .atMost(1_000), calls),
            .init("RSS at 256 connections, MiB", .atMost(30_000), resident.map { $0 * 1_000 / 1_024 }),
            .init("RSS after all checks : before", .atMost(1_050), growth),
            .init(
                "first answer after start, ms", .atMost(100_000),
                Results.median(results.firstAnswers).map { $0 / 1_000 }),
        ]
    }

    init(_ name: String, _ bound: Bound, _ measured: Int?) {
        self.name = name
        self.bound = bound
        self.measured = measured
    }
}
