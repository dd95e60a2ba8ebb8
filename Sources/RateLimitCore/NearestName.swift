/// The name that takes the fewest edits to become, for "did you mean"; nil among no names. Of two that are as near, the
/// first.
package func nearestName(to name: String, among names: some Sequence<String>) -> String? {
    // A name that is far longer than any known one is near to none, whatever its end.
    let bytes = Array(name.utf8.prefix(64))
    return names.map { ($0, editDistance(bytes, Array($0.utf8))) }.min { $0.1 < $1.1 }?.0
}

/// How many bytes have to be put in, taken out, exchanged, or swapped with their neighbour.
package func editDistance(_ one: [UInt8], _ other: [UInt8]) -> Int {
    var beforePrevious: [Int] = []
    var previous = Array(0...other.count)
    for (row, byte) in one.enumerated() {
        var current = [row + 1]
        current.reserveCapacity(previous.count)
        for (column, otherByte) in other.enumerated() {
            var cost = min(previous[column + 1] + 1, current[column] + 1)
            cost = min(cost, previous[column] + (byte == otherByte ? 0 : 1))
            if row > 0, column > 0, byte == other[column - 1], one[row - 1] == otherByte {
                cost = min(cost, beforePrevious[column - 1] + 1)
            }
            current.append(cost)
        }
        beforePrevious = previous
        previous = current
    }
    return previous[other.count]
}
