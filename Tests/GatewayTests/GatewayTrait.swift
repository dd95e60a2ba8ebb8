import Foundation
import Testing

/// Where `scripts/setup-gateways` keeps what it has made, a folder for each name.
let gatewaysFolder = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/.build/gateways"

/// Whether all of a gateway is there: its list of packages is written last.
func isGatewayThere(_ name: String) -> Bool {
    FileManager.default.fileExists(atPath: "\(gatewaysFolder)/\(name)/packages")
}

extension Trait where Self == ConditionTrait {
    /// Runs where these gateways are there. `scripts/test` says at its end which are not: a machine may reach no registry.
    static func needs(_ names: String...) -> Self {
        .enabled(
            if: names.allSatisfy(isGatewayThere),
            "not run: scripts/setup-gateways could not make \(names.filter { !isGatewayThere($0) })")
    }
}
