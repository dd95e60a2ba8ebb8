import Foundation
import TestSupport
import Testing

/// The rules and the dashboard in a real Prometheus that scrapes real daemons.
@Suite("In a real Prometheus", .serialized, .needsPrometheus)
struct LiveTests {
    let monitored: MonitoredDaemons
    let prometheus: PrometheusServer

    init() throws {
        monitored = try MonitoredDaemons()
        prometheus = try PrometheusServer(targets: monitored.ports)
    }

    /// A query as Grafana sends it.
    private func filledIn(_ query: String) -> String {
        [("$__rate_interval", "30s"), ("$__range", "5m"), ("$job", "llm-rate-limit"), ("$instance", ".*")]
            .reduce(query) { $0.replacing($1.0, with: $1.1) }
    }

    /// Whether an expression comes to hold while traffic goes on.
    private func holds(_ expression: String, while traffic: () throws -> Void = {}) throws -> Bool {
        try eventually(within: 60) {
            try traffic()
            return try !prometheus.query(expression).isEmpty
        }
    }

    /// The metrics that the rules and the dashboard ask for.
    private func askedFor() throws -> Set<String> {
        let expressions = try prometheus.rules().map(\.expression) + Dashboard().queries.map(\.text)
        return expressions.reduce(into: Set()) { $0.formUnion(metrics(in: $1)) }
    }

    @Test("Every query of the dashboard returns numbers while there is traffic")
    func dashboard() throws {
        let queries = try Dashboard().queries
        #expect(queries.count > 40)
        var missing: [(title: String, text: String)] = queries
        // Rates are there from the second scrape on.
        eventually(within: 60) {
            try? monitored.ask()
            missing.removeAll { query in
                let samples = (try? prometheus.query(filledIn(query.text))) ?? []
                return samples.contains { !$0.value.isNaN }
            }
            return missing.isEmpty
        }
        for query in missing { Issue.record("\(query.title): \(filledIn(query.text))") }

        let query = try #require(queries.first { $0.title == "Warned, over and in shadow, by limit" }).text
        for (limit, decision) in [("tokens", "warned"), ("eager", "over"), ("trial", "shadow_denied")] {
            #expect(
                try eventually(within: 60) {
                    try monitored.ask()
                    return try prometheus.query(filledIn(query)).contains {
                        $0.labels["limit"] == limit && $0.labels["decision"] == decision && $0.value > 0
                    }
                }, "\(limit): \(decision)")
        }
    }

    @Test("Each metric that a rule or the dashboard asks for is one that the daemon has, and promtool likes its page")
    func names() throws {
        try monitored.ask()
        let known = try monitored.metricNames()
        let asked = try askedFor()
        #expect(asked.count > 20)
        #expect(asked.subtracting(known).sorted() == [])

        let page = try monitored.folder.write(try monitored.page(), to: "page")
        let result = try ChildProcess("/bin/sh", ["-c", "exec '\(programs)/promtool' check metrics <'\(page)'"])
        #expect(try result.wait(seconds: 60) == 0, "\(result.output)\(result.errors)")
        #expect(result.output + result.errors == "")
    }

    @Test("Each metric that a daemon has is asked for by a panel or a rule, but for those that say what others say")
    func everyMetric() throws {
        try monitored.ask()
        // llm_rate_limit_limit_quota and llm_rate_limit_limit_window_seconds have the limit named requests as well.
        let saidByOthers: Set = ["llm_rate_limit_limit_requests", "llm_rate_limit_window_seconds"]
        #expect(try monitored.metricNames().subtracting(askedFor()).subtracting(saidByOthers).sorted() == [])
    }

    @Test("Each alert's expression holds when what it tells of happens to real daemons, and not before")
    func alerts() throws {
        let rules = try prometheus.rules()
        let alerts = Dictionary(uniqueKeysWithValues: rules.filter(\.isAlert).map { ($0.name, $0.expression) })
        func expression(_ name: String) throws -> String { try #require(alerts["RateLimit\(name)"], "\(name)") }
        var seen: Set<String> = []
        func expect(_ name: String, _ traffic: () throws -> Void = {}) throws {
            #expect(try holds(try expression(name), while: traffic), "\(name)")
            seen.insert("RateLimit\(name)")
        }

        // All is well: nobody is denied, every lease is settled, everything has a price, events and spans arrive.
        let client = try monitored.daemons[0].connect()
        for _ in 0..<30 { _ = try client.check(newUser()) }
        for _ in 0..<12 { try monitored.call(client, settling: true) }
        #expect(try holds("sum(increase(llm_rate_limit_checks_total[1h])) > 0") { _ = try client.check(newUser()) })
        #expect(try holds(#"sum by (outlet) (llm_rate_limit_events_total{outlet="webhook",result="delivered"}) > 0"#))
        #expect(try holds(#"rate(llm_rate_limit_spans_total{result="exported"}[1m]) > 0"#))
        let firing = try prometheus.rules().filter(\.isAlert).filter { try !prometheus.query($0.expression).isEmpty }
        #expect(firing.map(\.name) == [])

        // What is read of a user who is new is no batch.
        let known = newUser()
        _ = try monitored.daemons[1].connect().check(known, cost: 1)
        try expect("RedisSlow") {
            monitored.redis.stop()
            let late = Background { [daemon = monitored.daemons[1]] in
                try daemon.connect().request("GET", "/v1/users/\(known)").status
            }
            pause(milliseconds: 60)
            monitored.redis.resume()
            _ = try late.value()
        }
        try expect("DenialsSurge") { try monitored.ask() }
        try expect("SpendUncounted") { try monitored.ask() }
        try expect("LeasesLapse") { for _ in 0..<20 { try monitored.call(client, settling: nil) } }
        try expect("ConnectionsRefused") {
            let pool = (0..<50).compactMap { _ in try? monitored.daemons[1].connect() }
            _ = pool.map { try? $0.request("GET", "/livez") }
        }
        // More than may wait, since whoever is told of them has gone.
        monitored.receiver.stop()
        try expect("EventsLost") { for _ in 0..<500 { _ = try client.check(newUser()) } }
        try expect("SpansLost") { for _ in 0..<500 { _ = try client.check(newUser()) } }
        try monitored.folder.write("limits: {", to: "limits-1.yaml")
        monitored.daemons[1].process.send(SIGHUP)
        try expect("ReloadFailed")
        try monitored.folder.write("limits: []", to: "limits-1.yaml")
        monitored.daemons[1].process.send(SIGHUP)
        try expect("ReplicasDisagree")

        _ = try monitored.redis.command("CONFIG", "SET", "maxmemory", "1")
        try expect("RedisRefuses")
        monitored.redis.end()
        try expect("RedisAway")
        // Of the objective's windows the shortest are enough: the rules are recorded every half second.
        try expect("NotEnforcedFast") { for _ in 0..<30 { _ = try client.check(newUser()) } }
        try expect("NotEnforcedSlow")
        try monitored.redis.restart()
        try expect("RedisForgot")
        monitored.daemons[1].kill()
        try expect("Down")

        // One that tells of missing targets cannot hold while there are some.
        #expect(try prometheus.query(try expression("Absent").replacing("llm-rate-limit", with: "nobody")).count == 1)
        seen.insert("RateLimitAbsent")
        #expect(Set(alerts.keys) == seen)
        try expectTexts()
    }

    /// Prometheus evaluates every rule, and fills in what alerts say when it evaluates them next.
    private func expectTexts() throws {
        let isFilledIn = try eventually(within: 60) {
            try prometheus.rules().flatMap(\.texts).contains { $0.hasSuffix(" is down") }
        }
        #expect(isFilledIn)
        for rule in try prometheus.rules() {
            #expect(rule.health == "ok", "\(rule.name): \(rule.error)")
            for text in rule.texts {
                #expect(!text.contains("<error") && !text.contains("<no value>") && !text.contains("{{"), "\(text)")
            }
        }
    }
}
