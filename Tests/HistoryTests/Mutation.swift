import TestSupport
import Testing

/// A place in a script and what is put there.
struct Mutation: Sendable, CustomTestStringConvertible {
    var name: String
    var original: String
    var mutated: String
    /// Whether all is decided off the script's hot path, where the place is.
    var isOffHotPath = false
    var testDescription: String { name }

    /// The script with this fault in it.
    func planted(into script: String) throws -> String {
        guard script.ranges(of: original).count == 1 else {
            throw TestFailure("the script does not have this once: \(original)")
        }
        let planted = script.replacing(original, with: mutated)
        return isOffHotPath
            ? planted.replacing("local tries_hot_path = true", with: "local tries_hot_path = false") : planted
    }
}
