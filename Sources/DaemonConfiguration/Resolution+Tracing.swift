import HTTPPosts
package import TLSContexts

// What the options of tracing say together.
extension Resolution {
    /// The port at which collectors speak gRPC, by convention.
    private static let portOfGRPC = 4317

    mutating func checkTracing() {
        let tracing = settings.tracing
        guard let url = tracing.spansURL else {
            for name in [
                OptionName.otelHeaders, .otelCertificate, .otelSampler, .otelSamplerArgument, .otelResourceAttributes,
            ] where isUnproblematic(name) && !tracing.isDisabled && isGivenForThisDaemon(name) {
                warn("\(name.variable) is not used: \(OptionName.otelEndpoint.variable) names no collector")
            }
            return
        }
        if url.port == Self.portOfGRPC {
            let name = tracing.tracesEndpoint == nil ? OptionName.otelEndpoint : .otelTracesEndpoint
            warn(
                "\(name.variable) names port \(Self.portOfGRPC), at which most collectors speak gRPC: "
                    + "\(OptionName.otelProtocol.variable) is http/protobuf, which they speak at 4318")
        }
        if tracing.samplerShare != nil, !tracing.samplerName.takesShare, isUnproblematic(.otelSampler) {
            warn(
                "\(OptionName.otelSamplerArgument.variable) is not used: \(OptionName.otelSampler.variable)="
                    + "\(tracing.samplerName.rawValue) takes none")
        }
        guard url.isEncrypted else {
            if !tracing.headers.isEmpty {
                warn("\(OptionName.otelHeaders.variable) goes over the network in the clear: \(url) is no https://")
            }
            return
        }
        do throws(TLSProblem) {
            _ = try TLSContextCache().context(for: tracing.tls)
        } catch {
            if isUnproblematic(.otelCertificate) {
                refuse(
                    .otelCertificate, reason: error.reason, accepted: OptionCatalogue[.otelCertificate].accepted)
            }
        }
    }
}

extension TracingSettings {
    /// What the collector is verified by.
    package var tls: TLSEnd {
        TLSEnd(
            role: .client(verifiesServer: true), authoritiesFile: authoritiesFile, certificateFile: nil, keyFile: nil)
    }
}
