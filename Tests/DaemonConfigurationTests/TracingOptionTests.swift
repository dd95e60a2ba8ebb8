import DecisionTracing
import HTTPPosts
import Testing

@testable import DaemonConfiguration

@Suite("The options of OpenTelemetry")
struct TracingOptionTests {
    private func load(_ variables: [String: String]) throws(ConfigurationError) -> ResolvedConfiguration {
        try ConfigurationLoader(environment: variables).load()
    }

    private func problems(_ variables: [String: String]) throws -> [String] {
        try #require(throws: ConfigurationError.self) { try load(variables) }.problems.map(\.description)
    }

    @Test("trace nothing as they are, and send spans below the endpoint of all signals or to that of traces")
    func endpoints() throws {
        #expect(try load([:]).settings.tracing.spansURL == nil)
        let base = ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/otlp"]
        #expect(try load(base).settings.tracing.spansURL?.text == "http://c:4318/otlp/v1/traces")
        let own = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://d"]
        #expect(try load(base.merging(own) { $1 }).settings.tracing.spansURL?.text == "https://d:443/")
        #expect(try load(own).settings.tracing.spansURL?.text == "https://d:443/")
        let disabled = ["OTEL_SDK_DISABLED": "true"]
        #expect(try load(base.merging(disabled) { $1 }).settings.tracing.spansURL == nil)
        // As the standard has it, an empty variable is one that is not set.
        #expect(try load(["OTEL_EXPORTER_OTLP_ENDPOINT": ""]).settings == Settings())
    }

    @Test("are those of the environment, of the file and of flags, in the daemon's order, and nobody else's")
    func sources() throws {
        let folder = TemporaryFolder()
        let file = folder.write("env", "OTEL_SERVICE_NAME=file\nOTEL_TRACES_SAMPLR=x\nOTEL_RESOURCE_ATTRIBUTES=a=b\n")
        let environment = [
            "LLM_RATE_LIMIT_ENV_FILE": file, "OTEL_SERVICE_NAME": "environment", "OTEL_METRICS_EXPORTER": "none",
            "LLM_RATE_LIMIT_OTEL_SERVICE_NAME": "other",
        ]
        let configuration = try ConfigurationLoader(flags: [.otelTimeout: "5"], environment: environment).load()
        #expect(configuration.settings.tracing.serviceName == "environment")
        #expect(configuration.settings.tracing.timeoutMilliseconds == 5)
        #expect(configuration[.otelResourceAttributes].value == "a=b")
        // In the environment another program may be meant; in the daemon's own file it is a mistake.
        let warning = try #require(configuration.warnings.first { $0.hasPrefix("unknown variables") })
        #expect(
            warning == "unknown variables are ignored: LLM_RATE_LIMIT_OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLR in \(file) "
                + "(did you mean OTEL_TRACES_SAMPLER?)")
    }

    @Test("follow the caller where their names say so, and take their share of the rest")
    func samplers() throws {
        func sampler(_ name: String, _ share: String? = nil) throws -> TraceSampler {
            var variables = ["OTEL_TRACES_SAMPLER": name]
            variables["OTEL_TRACES_SAMPLER_ARG"] = share
            return try load(variables).settings.tracing.sampler
        }
        #expect(try load([:]).settings.tracing.sampler == TraceSampler(.always, followsParent: true))
        #expect(try sampler("always_on") == TraceSampler(.always, followsParent: false))
        #expect(try sampler("parentbased_always_off") == TraceSampler(.never, followsParent: true))
        #expect(try sampler("traceidratio") == TraceSampler(.always, followsParent: false))
        let cent = TraceSampler(TraceSampler.Root(millionths: 10_000), followsParent: true)
        #expect(try sampler("parentbased_traceidratio", "0.01") == cent)
        for (text, shown) in [("0", "0"), ("1", "1"), ("1.0", "1"), ("0.5", "0.5"), ("0.000001", "0.000001")] {
            let loaded = try load(["OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": text])
            #expect(loaded[.otelSamplerArgument].value == shown && loaded.warnings.isEmpty)
        }
        let unused = try load([
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_SAMPLER_ARG": "0.1",
        ])
        #expect(
            unused.warnings == [
                "OTEL_TRACES_SAMPLER_ARG is not used: OTEL_TRACES_SAMPLER=parentbased_always_on takes none"
            ])
    }

    @Test("show headers masked wherever they are shown, and decode what is percent-encoded")
    func headers() throws {
        let loaded = try load(["OTEL_EXPORTER_OTLP_HEADERS": "api-key=HUSH%20one, x-tenant = a=b"])
        let expected = [
            try PostHeader(name: "api-key", value: "HUSH one"), try PostHeader(name: "x-tenant", value: "a=b"),
        ]
        #expect(loaded.settings.tracing.headers == expected)
        #expect(loaded[.otelHeaders].value == "api-key=***,x-tenant=***" && !loaded.json().contains("HUSH"))
        let texts = try problems(["OTEL_EXPORTER_OTLP_HEADERS": "a=HUSH,b:HUSH"])
        #expect(texts.count == 1 && texts[0].contains("a=***,***: a part has no =") && !texts[0].contains("HUSH"))
        #expect(OptionCatalogue[.otelHeaders].masked("a=b,c") == "a=***,***")
    }

    @Test(
        "refuse what cannot be used, with what is accepted",
        arguments: [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "it begins neither with http:// nor with https://"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c?k=v", "it has a query"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:p@c", "it holds credentials"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTLP over grpc is not spoken; accepted are http/protobuf alone"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTLP over http/json is not spoken"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "udp", ": accepted are http/protobuf alone"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c", "a header's name holds"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "host=c", "this header is set for each request by itself"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "the value of a is not percent-encoded UTF-8"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "=c", "a part has no name"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%0d%0aX: y", "the value of a holds a control character"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "whole numbers from 1 to 600,000"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "whole numbers from 1 to 600,000"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a", "a part has no ="),
            ("OTEL_RESOURCE_ATTRIBUTES", String(repeating: "a=b,", count: 64) + "a=b", "more than 64 parts"),
            ("OTEL_SERVICE_NAME", String(repeating: "n", count: 256), "names of 1 to 255 bytes"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "always_on, always_off, traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.1", "shares from 0 to 1"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.0000001", "shares from 0 to 1"),
            ("OTEL_TRACES_SAMPLER_ARG", "-0.1", "shares from 0 to 1"), ("OTEL_SDK_DISABLED", "maybe", "yes, no"),
        ])
    func refused(name: String, text: String, reason: String) throws {
        let problems = try problems([name: text])
        #expect(problems.count == 1 && problems[0].hasPrefix("cannot use \(name)="), "\(problems)")
        #expect(problems[0].contains(reason) && problems[0].contains("accepted are "), "\(problems)")
    }

    @Test("name authorities that cannot be used before spans are sent, and only where TLS is spoken")
    func authorities() throws {
        let file = ["OTEL_EXPORTER_OTLP_CERTIFICATE": "/nonexistent"]
        let plain = ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"].merging(file) { $1 }
        #expect(try load(plain).warnings.isEmpty)
        let encrypted = ["OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:4318"].merging(file) { $1 }
        #expect(try problems(encrypted)[0].hasPrefix("cannot use OTEL_EXPORTER_OTLP_CERTIFICATE=/nonexistent: "))
    }

    @Test("warn of gRPC's port, of secrets in the clear, and of what is given and not used")
    func warnings() throws {
        let port = try load(["OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"]).warnings
        #expect(port.count == 1 && port[0].hasPrefix("OTEL_EXPORTER_OTLP_ENDPOINT names port 4317, at which"))
        let clear = try load([
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=HUSH",
        ]).warnings
        #expect(clear.count == 1 && clear[0].hasPrefix("OTEL_EXPORTER_OTLP_HEADERS goes over the network in the clear"))
        // An environment that programs share has them for others.
        #expect(try load(["OTEL_TRACES_SAMPLER": "always_on"]).warnings.isEmpty)
        let flag = try ConfigurationLoader(flags: [.otelSampler: "always_on"], environment: [:]).load().warnings
        #expect(flag == ["OTEL_TRACES_SAMPLER is not used: OTEL_EXPORTER_OTLP_ENDPOINT names no collector"])
    }
}
