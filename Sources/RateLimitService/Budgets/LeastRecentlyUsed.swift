/// A bounded table that, when full, forgets what has not been asked for or set for the longest time.
///
/// Each operation takes constant time: the entries stand in one array and are chained by their places in it, from the
/// one used last to the one used longest ago.
struct LeastRecentlyUsed<Key: Hashable, Value> {
    private struct Entry {
        var key: Key
        var value: Value
        /// Towards the one used last; `nowhere` at that end.
        var newer: Int
        var older: Int
    }

    private static var nowhere: Int { -1 }

    /// How many entries there are at most.
    let capacity: Int
    private var places: [Key: Int] = [:]
    private var entries: [Entry] = []
    private var newest = nowhere
    private var oldest = nowhere

    /// Makes an empty table for at least one entry.
    init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    var count: Int { entries.count }

    /// The value under a key, which counts as used now.
    mutating func value(for key: Key) -> Value? {
        guard let place = places[key] else { return nil }
        use(place)
        return entries[place].value
    }

    /// Sets the value under a key, which counts as used now.
    mutating func set(_ value: Value, for key: Key) {
        if let place = places[key] {
            entries[place].value = value
            use(place)
            return
        }
        let place: Int
        if entries.count == capacity {
            place = oldest
            places[entries[place].key] = nil
            unchain(place)
            entries[place] = Entry(key: key, value: value, newer: Self.nowhere, older: Self.nowhere)
        } else {
            place = entries.count
            entries.append(Entry(key: key, value: value, newer: Self.nowhere, older: Self.nowhere))
        }
        places[key] = place
        chainAsNewest(place)
    }

    /// Changes the value under a key in its place, which counts as used now; where there is none, one made anew.
    mutating func update(_ key: Key, from new: @autoclosure () -> Value, _ change: (inout Value) -> Void) {
        if let place = places[key] {
            change(&entries[place].value)
            use(place)
        } else {
            var value = new()
            change(&value)
            set(value, for: key)
        }
    }

    /// Forgets a key.
    mutating func remove(_ key: Key) {
        guard let place = places.removeValue(forKey: key) else { return }
        unchain(place)
        // The last entry takes the place, so that the array stays without gaps.
        let last = entries.count - 1
        if place != last {
            entries[place] = entries[last]
            places[entries[place].key] = place
            let (newer, older) = (entries[place].newer, entries[place].older)
            if newer == Self.nowhere { newest = place } else { entries[newer].older = place }
            if older == Self.nowhere { oldest = place } else { entries[older].newer = place }
        }
        entries.removeLast()
    }

    /// Forgets everything.
    mutating func removeAll() {
        places.removeAll()
        entries.removeAll()
        newest = Self.nowhere
        oldest = Self.nowhere
    }

    private mutating func use(_ place: Int) {
        guard place != newest else { return }
        unchain(place)
        chainAsNewest(place)
    }

    private mutating func chainAsNewest(_ place: Int) {
        entries[place].newer = Self.nowhere
        entries[place].older = newest
        if newest == Self.nowhere { oldest = place } else { entries[newest].newer = place }
        newest = place
    }

    private mutating func unchain(_ place: Int) {
        let (newer, older) = (entries[place].newer, entries[place].older)
        if newer == Self.nowhere { newest = older } else { entries[newer].older = older }
        if older == Self.nowhere { oldest = newer } else { entries[older].newer = newer }
    }
}
