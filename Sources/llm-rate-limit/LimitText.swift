import RateLimitCore

/// What the commands say of one limit, in its own unit.
struct LimitText {
    /// Nil where the answer does not name it: the one limit of a daemon without a limits file.
    var name: String?
    /// Nil where the answer does not tell it: amounts then stand without a unit.
    var unit: LimitUnit?
    /// Whose it is, where it is not the user's own: ` of group …`.
    var owner = ""

    /// The one limit of a daemon without a limits file.
    static let requests = LimitText(unit: .requests)

    /// What stands before the amounts: `team-spend: `.
    var start: String { name.map { "\($0): " } ?? "" }

    func text(of amount: Int) -> String { unit?.text(of: amount) ?? "\(amount)" }

    func text(of amount: Int, outOf whole: Int) -> String {
        unit?.text(of: amount, outOf: whole) ?? "\(amount) of \(whole)"
    }
}

/// When something ends, as people read it: `2026-11-22 00:00:00 UTC` of `2026-11-22T00:00:00.000Z`.
func instantText(_ timestamp: String) -> String {
    let parts = timestamp.split(separator: "T")
    guard parts.count == 2, let time = parts[1].split(whereSeparator: { $0 == "." || $0 == "Z" }).first,
        timestamp.hasSuffix("Z")
    else { return timestamp }
    return "\(parts[0]) \(time) UTC"
}
