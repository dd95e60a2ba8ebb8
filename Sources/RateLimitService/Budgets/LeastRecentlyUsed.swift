/// A bounded table that, when full, forgets what has not been asked for or set for the longest time.
///
/// Each operation takes constant time: the entries stand in one array and are chained by their places in it, from the
/// one used last to the one used longest ago. They are found by an index of four bytes for each place, of which at most half
/// are taken: a dictionary would keep each key a second time.
struct LeastRecentlyUsed<Key: Hashable, Value> {
    private struct Entry {
        var key: Key
        var value: Value
        /// Of the key.
        var hash: UInt32
        /// Towards the one used last; `nowhere` at that end.
        var newer: UInt32
        var older: UInt32
    }

    private static var nowhere: UInt32 { .max }
    private static var smallestIndex: Int { 16 }

    /// How many entries there are at most.
    let capacity: Int
    private var entries: [Entry] = []
    /// Where entries stand, from 1 on, each as near behind the slot that its hash names as there is room; 0 for none. Their
    /// number is a power of two.
    private var index: [UInt32] = []
    private var newest = nowhere
    private var oldest = nowhere

    /// Makes an empty table for at least one entry.
    init(capacity: Int) {
        precondition(capacity > 0 && capacity < Int(UInt32.max) / 2)
        self.capacity = capacity
    }

    var count: Int { entries.count }

    /// How many bytes it has asked for, used or not.
    var reservedBytes: Int {
        entries.capacity * MemoryLayout<Entry>.stride + index.capacity * MemoryLayout<UInt32>.stride
    }

    /// The value under a key, which counts as used now.
    mutating func value(for key: Key) -> Value? {
        guard let slot = slot(of: key, Self.hash(key)) else { return nil }
        let place = place(at: slot)
        use(place)
        return entries[place].value
    }

    /// Sets the value under a key, which counts as used now.
    mutating func set(_ value: Value, for key: Key) {
        let hash = Self.hash(key)
        if let slot = slot(of: key, hash) {
            let place = place(at: slot)
            entries[place].value = value
            return use(place)
        }
        let place: Int
        let entry = Entry(key: key, value: value, hash: hash, newer: Self.nowhere, older: Self.nowhere)
        if entries.count == capacity {
            place = Int(oldest)
            unlink(place)
            unchain(place)
            entries[place] = entry
        } else {
            place = entries.count
            // The memory behind it is used as entries come; a row that doubled would leave its old places behind.
            if index.isEmpty { entries.reserveCapacity(capacity) }
            entries.append(entry)
            if 2 * entries.count > index.count { growIndex() }
        }
        link(place)
        chainAsNewest(place)
    }

    /// Changes the value under a key in its place, which counts as used now; where there is none, one made anew.
    mutating func update(_ key: Key, from new: @autoclosure () -> Value, _ change: (inout Value) -> Void) {
        if let slot = slot(of: key, Self.hash(key)) {
            let place = place(at: slot)
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
        guard let slot = slot(of: key, Self.hash(key)) else { return }
        let place = place(at: slot)
        unlink(place)
        unchain(place)
        // The last entry takes the place, so that the array stays without gaps.
        let last = entries.count - 1
        if place != last {
            unlink(last)
            entries[place] = entries[last]
            link(place)
            let (newer, older) = (entries[place].newer, entries[place].older)
            if newer == Self.nowhere { newest = UInt32(place) } else { entries[Int(newer)].older = UInt32(place) }
            if older == Self.nowhere { oldest = UInt32(place) } else { entries[Int(older)].newer = UInt32(place) }
        }
        entries.removeLast()
    }

    /// Forgets everything, and keeps its memory for what comes.
    mutating func removeAll() {
        guard !entries.isEmpty else { return }
        entries.removeAll(keepingCapacity: true)
        for slot in index.indices { index[slot] = 0 }
        newest = Self.nowhere
        oldest = Self.nowhere
    }

    // MARK: The chain

    private mutating func use(_ place: Int) {
        guard place != newest else { return }
        unchain(place)
        chainAsNewest(place)
    }

    private mutating func chainAsNewest(_ place: Int) {
        let place = UInt32(place)
        entries[Int(place)].newer = Self.nowhere
        entries[Int(place)].older = newest
        if newest == Self.nowhere { oldest = place } else { entries[Int(newest)].newer = place }
        newest = place
    }

    private mutating func unchain(_ place: Int) {
        let (newer, older) = (entries[place].newer, entries[place].older)
        if newer == Self.nowhere { newest = older } else { entries[Int(newer)].older = older }
        if older == Self.nowhere { oldest = newer } else { entries[Int(older)].newer = newer }
    }

    // MARK: The index

    private static func hash(_ key: Key) -> UInt32 { UInt32(truncatingIfNeeded: key.hashValue) }

    private func home(_ hash: UInt32) -> Int { Int(hash) & (index.count - 1) }

    private func next(_ slot: Int) -> Int { (slot + 1) & (index.count - 1) }

    private func place(at slot: Int) -> Int { Int(index[slot]) - 1 }

    /// The slot of a key's entry; nil where there is none.
    private func slot(of key: Key, _ hash: UInt32) -> Int? {
        guard !index.isEmpty else { return nil }
        var slot = home(hash)
        while index[slot] != 0 {
            let place = place(at: slot)
            if entries[place].hash == hash, entries[place].key == key { return slot }
            slot = next(slot)
        }
        return nil
    }

    private mutating func link(_ place: Int) {
        var slot = home(entries[place].hash)
        while index[slot] != 0 { slot = next(slot) }
        index[slot] = UInt32(place + 1)
    }

    /// Takes an entry out of the index, and moves those behind it up that belong there.
    private mutating func unlink(_ place: Int) {
        var hole = home(entries[place].hash)
        while index[hole] != UInt32(place + 1) { hole = next(hole) }
        var slot = next(hole)
        while index[slot] != 0 {
            let home = home(entries[self.place(at: slot)].hash)
            let mask = index.count - 1
            if (slot - home) & mask >= (slot - hole) & mask {
                index[hole] = index[slot]
                hole = slot
            }
            slot = next(slot)
        }
        index[hole] = 0
    }

    /// Makes the index twice as large; the newest entry is not in it yet.
    private mutating func growIndex() {
        index = [UInt32](repeating: 0, count: max(Self.smallestIndex, 2 * index.count))
        for place in entries.indices.dropLast() { link(place) }
    }
}
