/// What the answers alone prove to have been wrong, for a window longer than the whole run.
package struct Audit: Equatable, Sendable {
    /// Denials of users who had less than their limit: all that can have been charged by then, counted.
    package var deniedWrongly = 0
    /// Admissions that Redis decided beyond a user's limit.
    package var overLimit = 0

    /// Nothing wrong.
    package init(deniedWrongly: Int = 0, overLimit: Int = 0) {
        self.deniedWrongly = deniedWrongly
        self.overLimit = overLimit
    }

    /// - Parameters:
    ///   - forgets: the span in which Redis may have lost its counts. Each side of it is judged alone, and what was sent
    ///     or answered in it is judged on neither.
    package init(_ checks: [Load.Exchange], limit: Int, forgets: ClosedRange<Double>? = nil) {
        for (_, ofUser) in Dictionary(grouping: checks, by: \.user) {
            // Whatever was not denied may have been charged, also where no answer came, from the moment it was sent.
            let sent = ofUser.filter { $0.status != 429 }.map(\.sentAt).sorted()
            for denial in ofUser where denial.status == 429 {
                let charged = sent.prefix { $0 < denial.answeredAt }.count
                if charged < limit { deniedWrongly += 1 }
            }
            let admitted = ofUser.filter { $0.status == 200 && !$0.isDegraded }
            for epoch in Self.epochs(admitted, forgets) { overLimit += max(0, epoch.count - limit) }
        }
    }

    private static func epochs(
        _ admitted: [Load.Exchange], _ forgets: ClosedRange<Double>?
    ) -> [[Load.Exchange]] {
        guard let forgets else { return [admitted] }
        return [
            admitted.filter { $0.answeredAt < forgets.lowerBound }, admitted.filter { $0.sentAt > forgets.upperBound },
        ]
    }
}
