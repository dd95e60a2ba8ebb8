import FoundationEssentials
import Testing

@testable import DaemonConfiguration

@Suite("Showing the configuration")
struct ConfigurationRenderingTests {
    private struct Listing: Decodable {
        struct Option: Decodable {
            var name, flag, value, source, description, accepted: String
            var `default`: String
            var reloadable: Bool
        }
        var options: [Option]
    }

    @Test("as JSON lists every option with value, default, source and description")
    func json() throws {
        let configuration = try ConfigurationLoader(
            flags: [.keyPrefix: "a\"\\b"], environment: ["LLM_RATE_LIMIT_WINDOW": "1d"]
        ).load()
        let listing = try JSONDecoder().decode(Listing.self, from: Data(configuration.json().utf8))
        #expect(listing.options.map(\.name) == OptionCatalogue.all.map(\.name.variable))
        let window = try #require(listing.options.first { $0.name == "LLM_RATE_LIMIT_WINDOW" })
        #expect(window.value == "86400" && window.default == "3600" && window.source == "environment")
        #expect(window.flag == "--window" && window.reloadable && !window.accepted.isEmpty)
        let prefix = try #require(listing.options.first { $0.name == "LLM_RATE_LIMIT_KEY_PREFIX" })
        #expect(prefix.value == "a\"\\b" && prefix.source == "flag --key-prefix" && !prefix.reloadable)
    }

    @Test("as JSON keeps values from outside inside their strings")
    func escaping() throws {
        let path = "/tmp/\u{2028}\"\\\u{202E}ä😀"
        let configuration = try ConfigurationLoader(flags: [.socket: path], environment: [:]).load()
        let listing = try JSONDecoder().decode(Listing.self, from: Data(configuration.json().utf8))
        let value = listing.options.first { $0.name == "LLM_RATE_LIMIT_SOCKET" }?.value
        #expect(value == "/tmp/\u{2028}\"\\\\u{202E}ä😀")
    }

    @Test("as a table fits 80 columns, folds long values and marks what is off")
    func table() throws {
        let long = "/run/" + String(repeating: "0123456789", count: 10)
        let configuration = try ConfigurationLoader(flags: [.socket: long, .adminSocket: ""], environment: [:]).load()
        let table = configuration.table()
        let lines = table.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.allSatisfy { $0.count <= 80 })
        #expect(table.filter { !" \n".contains($0) }.contains(long))
        #expect(table.contains(" * REQUESTS                    default      20\n"))
        #expect(table.contains("   ADMIN_SOCKET                flag         -\n"))
        for section in OptionSection.allCases { #expect(lines.contains { $0 == section.rawValue }) }
    }
}
