import RateLimitCore
import RateLimitService

/// What the routes of the admin socket ask for.
extension RouteMatch {
    func userBudget() throws(RequestError) -> RoutedRequest { .admin(.userBudget(try user)) }

    func userBudgetPut() throws(RequestError) -> RoutedRequest {
        let user = try user
        let budget = try budget(takesGroup: true)
        let change = BudgetChange.putUserBudget(user, budget.terms, attributedTo: budget.group)
        return .admin(.change(change, exempt: budget.withoutEffect))
    }

    func userBudgetDelete() throws(RequestError) -> RoutedRequest { .admin(.change(.deleteUserBudget(try user))) }

    func groupBudget() throws(RequestError) -> RoutedRequest { .admin(.groupBudget(try group)) }

    func groupBudgetPut() throws(RequestError) -> RoutedRequest {
        let group = try group
        let budget = try budget(takesGroup: false)
        return .admin(.change(.putGroupBudget(group, budget.terms), exempt: budget.withoutEffect))
    }

    func groupBudgetDelete() throws(RequestError) -> RoutedRequest { .admin(.change(.deleteGroupBudget(try group))) }

    private func budget(takesGroup: Bool) throws(RequestError) -> BudgetBody {
        try body { (bytes) throws(RequestError) in try BudgetBody.read(bytes, takesGroup: takesGroup) }
    }

    func userGrant() throws(RequestError) -> RoutedRequest { .admin(.grant(.user(try user), try grant())) }

    func userGrantsDelete() throws(RequestError) -> RoutedRequest {
        .admin(.change(.deleteGrants(.user(try user), limit: try onlyLimit)))
    }

    func groupGrant() throws(RequestError) -> RoutedRequest { .admin(.grant(.group(try group), try grant())) }

    func groupGrantsDelete() throws(RequestError) -> RoutedRequest {
        .admin(.change(.deleteGrants(.group(try group), limit: try onlyLimit)))
    }

    private func grant() throws(RequestError) -> GrantBody {
        try body { (bytes) throws(RequestError) in try GrantBody.read(bytes) }
    }

    func member() throws(RequestError) -> RoutedRequest { .admin(.membership(try user, group: try group)) }

    func memberPut() throws(RequestError) -> RoutedRequest { .admin(.change(.putMember(try user, group: try group))) }

    func memberDelete() throws(RequestError) -> RoutedRequest {
        .admin(.change(.deleteMember(try user, group: try group)))
    }

    func audit() throws(RequestError) -> RoutedRequest {
        let (limit, cursor) = try page(sizes: AuditPage.sizes)
        return .admin(.audit(limit: limit, olderThan: cursor))
    }

    func events() throws(RequestError) -> RoutedRequest {
        let (limit, cursor) = try page(sizes: EventStream.pageSizes)
        return .admin(.events(limit: limit, after: cursor))
    }

    /// Which part of a stream the query names: so many entries, as many as there may be where it does not say, and the
    /// cursor.
    private func page(sizes: ClosedRange<Int>) throws(RequestError) -> (limit: Int, cursor: StreamCursor?) {
        var limit = sizes.upperBound
        var cursor: StreamCursor?
        for parameter in QueryParameters(query) {
            switch parameter.name {
            case "limit":
                guard let number = parameter.value.flatMap({ Int($0) }), sizes.contains(number) else {
                    throw .malformedQuery("limit is no whole number from 1 to \(sizes.upperBound)")
                }
                limit = number
            case "cursor":
                guard let place = parameter.value.flatMap({ StreamCursor($0) }) else {
                    throw .malformedQuery("cursor is not the next_cursor of an earlier answer")
                }
                cursor = place
            default: break
            }
        }
        return (limit, cursor)
    }
}

/// What the routes ask for by which windows begin anew.
extension RouteMatch {
    func userReset() throws(RequestError) -> RoutedRequest { .reset(LimitReset(.user(try user), limit: try onlyLimit)) }

    func groupReset() throws(RequestError) -> RoutedRequest {
        .reset(LimitReset(.group(try group), limit: try onlyLimit))
    }

    func globalReset() throws(RequestError) -> RoutedRequest { .reset(LimitReset(.global, limit: try onlyLimit)) }

    /// The domain comes first, then each key with its value. Everything else is refused, as of ``onlyLimit``.
    func descriptorReset() throws(RequestError) -> RoutedRequest {
        var domain: String?
        var entries: [DescriptorEntry] = []
        var isComplete = true
        for parameter in QueryParameters(query) {
            guard let value = parameter.value else { throw Self.noDescriptor }
            switch (parameter.name, isComplete) {
            case ("domain", true) where domain == nil: domain = value
            case ("key", true) where entries.count < Self.mostEntries && !value.isEmpty:
                entries.append(DescriptorEntry(value, ""))
                isComplete = false
            case ("value", false):
                entries[entries.count - 1].value = value
                isComplete = true
            default: throw Self.noDescriptor
            }
        }
        guard let domain, !domain.isEmpty, isComplete, !entries.isEmpty else { throw Self.noDescriptor }
        return .admin(.resetDescriptor(DescriptorReset(entries, in: domain)))
    }

    /// As many as a proxy may send.
    private static let mostEntries = 32
    private static let noDescriptor = RequestError.malformedQuery(
        "accepted here are domain=<domain> and 1 to \(mostEntries) times key=<key>&value=<value>, in the descriptor's order"
    )

    /// The limit that the query names; nil where there is no query. Everything else is refused: a word misspelt must not
    /// take away more than was meant.
    private var onlyLimit: LimitName? {
        get throws(RequestError) {
            guard !query.isEmpty else { return nil }
            let text = String(decoding: query, as: UTF8.self)
            guard text.hasPrefix("limit=") else { throw .malformedQuery("accepted here is limit=<name> alone") }
            guard let name = LimitName(String(text.dropFirst(6))) else {
                throw .malformedQuery(
                    "limit is no name: accepted are 1 to 64 of a-z, 0-9, -, _ and ., beginning with a letter or digit")
            }
            return name
        }
    }
}
