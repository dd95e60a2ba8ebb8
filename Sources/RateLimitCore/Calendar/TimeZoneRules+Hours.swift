extension TimeZoneRules {
    /// The hour that contains an instant: from the last instant at which the zone's clocks showed a full hour to the next
    /// one.
    ///
    /// So every instant is in one hour. It takes 60 minutes, also where clocks repeat or skip one; where they are moved by
    /// half an hour, the one in which that is done takes 30 or 90.
    func hour(atUnixSeconds instant: Int) -> CalendarPeriod {
        // Only clocks that are moved again and again may show no full hour for long.
        var back = Self.hourSeconds
        while true {
            var start = fullHour(from: instant - back)
            while start <= instant {
                let next = fullHour(from: start + 1)
                if next > instant { return CalendarPeriod(start: start, nextStart: next) }
                start = next
            }
            back *= 2
        }
    }

    private static let hourSeconds = 3600

    /// The first instant, not before the one given, at which the zone's clocks show a full hour.
    private func fullHour(from instant: Int) -> Int {
        var instant = instant
        // Each turn is one change of the offset, and no rule for all years changes it every hour.
        while true {
            let span = span(at: instant)
            let full = instant + CivilDay.remainder(-(instant + span.offset), Self.hourSeconds)
            if full < span.end { return full }
            instant = span.end
        }
    }
}
