import Foundation

@testable import DaemonConfiguration
@testable import RedisClient

/// What is read of a URL is written as a URL that reads the same, and a password is shown nowhere.
func fuzzRedisURL(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let url = String(decoding: bytes, as: UTF8.self)
    let secret = password(in: Array(url.utf8))
    let topology: RedisTopology
    do throws(RedisURLError) {
        topology = try RedisTopology.parse(url)
    } catch {
        try holdHidden(secret, in: RedisTopology.masked(url), of: url)
        // Only this error says something of the URL.
        guard case .unsupportedScheme(let scheme) = error else { return }
        return try holdHidden(secret, in: scheme, of: url)
    }
    try holdHidden(secret, in: topology.description, of: url)
    try holdHidden(secret, in: RedisTopology.masked(url), of: url)
    // Percent-encoding may make it longer than a URL may be.
    guard topology.description.utf8.count <= RedisTopology.maximumURLBytes else { return }
    var masked = topology
    if topology.server.password != nil { masked.setServerLogin(password: Secret("***")) }
    let again = Result { () throws(RedisURLError) in try RedisTopology.parse(topology.description) }
    try hold(again == .success(masked), "\(topology) reads as \(again)")
}

/// What stands between the first colon behind `://` and the last `@` of the authority, or where that has none, the last
/// of all; in plain bytes.
private func password(in url: [UInt8]) -> String? {
    guard let start = url.firstRange(of: Array("://".utf8))?.upperBound else { return nil }
    let authority = url[start...].prefix { !"/?#".utf8.contains($0) }
    guard let end = authority.lastIndex(of: UInt8(ascii: "@")) ?? url[start...].lastIndex(of: UInt8(ascii: "@")),
        let colon = url[start..<end].firstIndex(of: UInt8(ascii: ":"))
    else { return nil }
    return String(decoding: url[(colon + 1)..<end], as: UTF8.self)
}

/// A password is told from other text by its length, and by standing in the URL once only.
private func holdHidden(_ secret: String?, in text: String, of url: String) throws(FuzzFinding) {
    guard let secret, secret.utf8.count >= 8, Array(url.utf8).ranges(of: Array(secret.utf8)).count == 1 else {
        return
    }
    try hold(!text.utf8Contains(secret), "the password shows in \(text)")
    let encoded = PercentCoding.encode(secret)
    try hold(!text.utf8Contains(encoded), "the password shows, percent-encoded, in \(text)")
}

extension String {
    fileprivate func utf8Contains(_ text: String) -> Bool { Array(utf8).firstRange(of: Array(text.utf8)) != nil }
}

/// What is read of a file can be written as a file that reads the same.
func fuzzEnvironmentFile(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    guard let file = try? EnvironmentFile(parsing: Array(bytes)) else { return }
    let lines = 1 + bytes.count { $0 == UInt8(ascii: "\n") }
    for line in file.assignments.map(\.line) + file.ignoredLines + [file.unclosedQuoteLine ?? 1] {
        try hold((1...lines).contains(line), "line \(line) of \(lines)")
    }
    let numbers = file.assignments.map(\.line)
    try hold(numbers == numbers.sorted(), "lines in the order \(numbers)")
    var text = ""
    for assignment in file.assignments {
        var quoted = ""
        for scalar in assignment.value.unicodeScalars {
            if "\"\\`$".unicodeScalars.contains(scalar) { quoted += "\\" }
            quoted.unicodeScalars.append(scalar)
        }
        text += "\(assignment.name)=\"\(quoted)\"\n"
    }
    let again = try? EnvironmentFile(parsing: Array(text.utf8))
    let isSame = again?.assignments.elementsEqual(file.assignments) {
        $0.name == $1.name && Array($0.value.utf8) == Array($1.value.utf8)
    }
    try hold(
        isSame == true && again?.ignoredLines == [] && again?.unclosedQuoteLine == nil, "\(file) written as \(text)")
}

/// Values from a file of `NAME=value` lines: what is taken is written so that it is taken again as the same, and what
/// is refused is told on one line for each.
func fuzzConfiguration(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    guard let file = try? EnvironmentFile(parsing: Array(bytes)) else { return }
    var environment: [String: String] = [:]
    // No input chooses which file of this machine is read.
    for assignment in file.assignments where !assignment.name.uppercased().hasSuffix("_FILE") {
        environment[assignment.name] = assignment.value
    }
    let configuration: ResolvedConfiguration
    do throws(ConfigurationError) {
        configuration = try ConfigurationLoader(environment: environment).load()
    } catch {
        let lines = error.description.unicodeScalars.split(omittingEmptySubsequences: false) {
            $0 == "\n" || $0 == "\r"
        }
        try hold(
            lines.count == error.problems.count, "\(error.problems.count) problems in \(lines.count) lines: \(error)")
        return
    }
    let json = try? JSONSerialization.jsonObject(with: Data(configuration.json().utf8)) as? [String: Any]
    try hold((json?["options"] as? [Any])?.count == OptionCatalogue.all.count, "no JSON: \(configuration.json())")
    for line in configuration.table().split(separator: "\n", omittingEmptySubsequences: false) {
        try hold(line.count <= 80, "a line of \(line.count): \(line)")
    }
    try holdTakenAgain(configuration)
}

private func holdTakenAgain(_ configuration: ResolvedConfiguration) throws(FuzzFinding) {
    for option in OptionCatalogue.all where !option.name.variable.hasSuffix("_FILE") && !option.isSecret {
        let text = option.render(configuration.settings)
        var settings = configuration.settings
        do throws(ValueRejection) { try option.apply(text, &settings) } catch {
            throw FuzzFinding(description: "\(option.name) shows \(text) and does not take it")
        }
        try hold(option.isSame(settings, configuration.settings), "\(option.name) takes its own \(text) as another")
    }
}
