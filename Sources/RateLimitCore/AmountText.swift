extension LimitUnit {
    /// An amount with its unit, as people read it: `$0.975`, `1 slot`, `500 input tokens`.
    public func text(of amount: Int) -> String {
        switch self {
        case .spend: dollars(amount)
        case .requests, .tokens, .concurrency: "\(amount) \(noun(for: amount))"
        }
    }

    /// One amount of another, with the unit once: `$0.975 of $5.00`, `3 of 20 requests`.
    public func text(of amount: Int, outOf whole: Int) -> String {
        switch self {
        case .spend: "\(dollars(amount)) of \(dollars(whole))"
        case .requests, .tokens, .concurrency: "\(amount) of \(whole) \(noun(for: whole))"
        }
    }

    private func noun(for amount: Int) -> String {
        let plural = amount == 1 ? "" : "s"
        return switch self {
        case .requests: "request\(plural)"
        case .tokens(.total): "token\(plural)"
        case .tokens(.input): "input token\(plural)"
        case .tokens(.output): "output token\(plural)"
        case .tokens(.cacheRead): "cache-read token\(plural)"
        case .tokens(.cacheWrite): "cache-write token\(plural)"
        case .spend: "micro-dollar\(plural)"
        case .concurrency: "slot\(plural)"
        }
    }

    /// Micro-dollars as dollars, at least to the cent and to the last digit that is not 0.
    private func dollars(_ micros: Int) -> String {
        var fraction = String(micros % 1_000_000 + 1_000_000).dropFirst()
        while fraction.count > 2, fraction.hasSuffix("0") { fraction = fraction.dropLast() }
        return "$\(micros / 1_000_000).\(fraction)"
    }
}
