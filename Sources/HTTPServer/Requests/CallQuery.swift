import RateLimitCore
import RateLimitService

/// Reads the query of a call: `user`, `cost`, `model`, `provider`, `group` (any number), `verbose`, labels as `label.<name>`
/// and quotas as `quota.<limit>`. Others are ignored, and so are labels that no limit looks at.
struct CallQuery {
    var body = CallBody()
    var isVerbose = false

    static func read(_ query: [UInt8], under limits: LimitsInForce) throws(RequestError) -> CallQuery {
        var values = CallQuery()
        for parameter in QueryParameters(query) {
            switch parameter.name {
            case "user":
                guard let user = SubjectID(try text(parameter)) else { throw .invalidUser }
                values.body.user = user
            case "cost":
                guard let cost = Array(try text(parameter).utf8).withUnsafeBytes({ decimalCost($0) }) else {
                    throw .invalidCost
                }
                values.body.cost = cost
            default: try add(parameter, to: &values.body, under: limits)
            }
        }
        if limits.groupsAreGiven { values.body.add(try groups(query)) }
        values.isVerbose = isVerbose(query)
        return values
    }

    /// Takes what a parameter says of the call: a model, a provider, or a label that some limit looks at.
    static func add(
        _ parameter: QueryParameters.Parameter, to body: inout CallBody, under limits: LimitsInForce
    ) throws(RequestError) {
        switch parameter.name {
        case "model": body.model = try text(parameter)
        case "provider": body.provider = try text(parameter)
        case let name where name.hasPrefix("quota."):
            let range = LimitDefinition.quotas
            guard let amount = WholeNumber.read(try text(parameter).utf8), range.contains(amount) else {
                throw .malformedQuery("\(name) is no whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            body.add(quota: amount, named: String(name.dropFirst(6)), of: limits.set)
        case let name where name.hasPrefix("label."):
            let label = String(name.dropFirst(6))
            guard limits.set.labelNames.contains(label) else { return }
            body.labels[label] = try text(parameter)
        default: return
        }
    }

    /// Whether every limit is to be told of.
    static func isVerbose(_ query: [UInt8]) -> Bool {
        let parameter = Array(QueryParameters(query)).last { $0.name == "verbose" }
        return ["1", "true"].contains(parameter?.value)
    }

    /// The groups that are named.
    static func groups(_ query: [UInt8]) throws(RequestError) -> [SubjectID] {
        var groups: [SubjectID] = []
        for parameter in QueryParameters(query) where parameter.name == "group" {
            guard let group = SubjectID(try text(parameter)) else { throw .invalidGroup }
            groups.append(group)
        }
        return groups
    }

    private static func text(_ parameter: QueryParameters.Parameter) throws(RequestError) -> String {
        guard let value = parameter.value else {
            throw .malformedQuery("\(parameter.name) is no UTF-8 text, or \(CheckQuery.encoding)")
        }
        return value
    }
}
