import RateLimitCore

/// Reads the `window` of a limit: a length, a map with `calendar`, or one with `lifetime`.
struct WindowReader {
    let timeZones: TimeZoneFolder

    private static let keys = ["calendar", "starts", "time_zone", "lifetime", "idle"]
    private static let accepted =
        "\(ValueText.duration), {calendar: day, time_zone: Europe/Berlin}, or {lifetime: true, idle: 7d}"

    /// The window of a limit; nil of concurrency, which has none.
    func window(_ limit: MapReader, unit: LimitUnit) throws(LimitsFileError) -> LimitWindow? {
        guard unit != .concurrency else {
            guard let node = try limit.value("window") else { return nil }
            throw LimitsFileError(
                line: node.line, "\(limit.what) counts concurrency, which has no window; remove it, or count requests")
        }
        let node = try limit.required("window", accepted: Self.accepted)
        if case .map = node.content {
            let map = try MapReader(node, what: "the window of \(limit.what)", keys: Self.keys)
            return try map.value("lifetime") == nil ? calendar(map) : lifetime(map)
        }
        return try limit.read(node, "window", accepted: Self.accepted) { text in
            ValueText.milliseconds(text, in: LimitWindow.lengths).map { .sliding(milliseconds: $0) }
        }
    }

    private func lifetime(_ map: MapReader) throws(LimitsFileError) -> LimitWindow {
        let word = try map.required("lifetime", accepted: "true")
        try map.read(word, "lifetime", accepted: "true, and windows without it") { $0 == "true" ? () : nil }
        for key in ["calendar", "starts", "time_zone"] {
            guard let other = try map.value(key) else { continue }
            throw LimitsFileError(
                line: other.line,
                "\(map.what) is a lifetime, which knows no calendar; remove \(key), or lifetime")
        }
        let idle = try map.required("idle", accepted: ValueText.duration)
        return try map.read(idle, "idle", accepted: ValueText.duration) { text in
            ValueText.milliseconds(text, in: LimitWindow.lengths).map { .lifetime(idleMilliseconds: $0) }
        }
    }

    private func calendar(_ map: MapReader) throws(LimitsFileError) -> LimitWindow {
        if let idle = try map.value("idle") {
            throw LimitsFileError(
                line: idle.line, "idle of \(map.what) goes with lifetime alone; add lifetime: true, or remove it")
        }
        let kind: CalendarPeriodKind = try map.word("calendar", standard: nil)
        let start = try starts(map, of: kind)
        guard let zone = try map.value("time_zone") else { return .calendar(kind, .utc, starts: start) }
        let accepted = "names such as UTC, Europe/Berlin and America/New_York"
        let name = try map.read(zone, "time_zone", accepted: accepted) { $0 }
        do {
            return .calendar(kind, try timeZones.rules(named: name), starts: start)
        } catch {
            throw LimitsFileError(
                line: zone.line, "time_zone of \(map.what) is \(shown(name)), but \(error)",
                accepted: error.isAboutName ? accepted : nil)
        }
    }

    private func starts(_ map: MapReader, of kind: CalendarPeriodKind) throws(LimitsFileError) -> CalendarStart {
        guard let node = try map.value("starts") else { return .first }
        guard kind.hasStart else {
            let begin =
                switch kind {
                case .hour: "at the full hour"
                case .week: "on Monday"
                case .day, .month, .quarter, .year: "at midnight"
                }
            throw LimitsFileError(
                line: node.line,
                "\(map.what) has starts, but its \(kind.rawValue) begins \(begin); only a month, a quarter or a year may "
                    + "begin on another day")
        }
        let hasMonth = !kind.isEveryMonth
        let accepted =
            "days from \(CalendarStart.days.lowerBound) to \(CalendarStart.days.upperBound), such as 15"
            + (hasMonth ? ", and days of the year, such as 04-06, the sixth of April" : "")
        return try map.read(node, "starts", accepted: accepted) { CalendarStart($0, hasMonth: hasMonth) }
    }
}
