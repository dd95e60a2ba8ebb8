import Foundation
import TestSupport
import Testing

/// The dashboard, as far as Grafana documents its JSON (Dashboard JSON model, classic).
struct Dashboard {
    struct Panel {
        var json: [String: Any]

        var id: Int { json["id"] as? Int ?? -1 }
        var title: String { json["title"] as? String ?? "" }
        var kind: String { json["type"] as? String ?? "" }
        var targets: [[String: Any]] { json["targets"] as? [[String: Any]] ?? [] }
        var queries: [String] { targets.compactMap { $0["expr"] as? String } }
        var unit: String? {
            let configuration = json["fieldConfig"] as? [String: Any]
            return (configuration?["defaults"] as? [String: Any])?["unit"] as? String
        }
        /// Columns and lines, as far as the panel reaches.
        var place: (columns: Range<Int>, lines: Range<Int>)? {
            guard let grid = json["gridPos"] as? [String: Int], let x = grid["x"], let y = grid["y"],
                let width = grid["w"], let height = grid["h"], width > 0, height > 0
            else { return nil }
            return (x..<x + width, y..<y + height)
        }
    }

    let json: [String: Any]
    let panels: [Panel]

    init() throws {
        let object = try JSONSerialization.jsonObject(with: Data(try deployed("grafana-dashboard.json").utf8))
        json = try #require(object as? [String: Any])
        panels = try #require(json["panels"] as? [[String: Any]]).map(Panel.init)
    }

    var variables: [[String: Any]] { (json["templating"] as? [String: Any])?["list"] as? [[String: Any]] ?? [] }

    /// Every query of every panel, with the panel's title.
    var queries: [(title: String, text: String)] {
        panels.flatMap { panel in panel.queries.map { (panel.title, $0) } }
    }
}

@Suite("The dashboard")
struct DashboardTests {
    /// Grafana's ids of the units that are used: counts, requests and events a second, shares, seconds, bytes.
    static let units: Set = ["none", "short", "reqps", "cps", "percentunit", "s", "bytes"]

    let dashboard: Dashboard
    init() throws { dashboard = try Dashboard() }

    @Test("It has the members that Grafana's model of a dashboard has")
    func model() throws {
        let json = dashboard.json
        #expect(json["title"] as? String == "llm-rate-limit" && json["uid"] as? String == "llm-rate-limit")
        #expect(json["schemaVersion"] as? Int == 39)
        // An id belongs to one Grafana's database: a file with one cannot be imported elsewhere.
        #expect(json["id"] == nil)
        let known: Set = [
            "title", "uid", "description", "tags", "schemaVersion", "version", "editable", "graphTooltip", "timezone",
            "refresh", "time", "links", "annotations", "templating", "panels",
        ]
        #expect(Set(json.keys).subtracting(known).isEmpty)
        #expect(dashboard.variables.compactMap { $0["name"] as? String } == ["datasource", "job", "instance"])
    }

    @Test(
        "Each panel has an id, a title, a place of its own, and where it shows data a description, a unit and queries")
    func panels() throws {
        #expect(Set(dashboard.panels.map(\.id)).count == dashboard.panels.count)
        for panel in dashboard.panels {
            #expect(panel.id > 0 && !panel.title.isEmpty, "\(panel.json)")
            let place = try #require(panel.place, "\(panel.title)")
            #expect(place.columns.lowerBound >= 0 && place.columns.upperBound <= 24, "\(panel.title)")
            for other in dashboard.panels where other.id < panel.id {
                let taken = try #require(other.place)
                let overlaps = taken.columns.overlaps(place.columns) && taken.lines.overlaps(place.lines)
                #expect(!overlaps, "\(other.title) and \(panel.title)")
            }
            guard panel.kind != "row" else { continue }
            #expect(["stat", "timeseries", "table"].contains(panel.kind), "\(panel.title)")
            #expect((panel.json["description"] as? String)?.hasSuffix(".") == true, "\(panel.title)")
            #expect(panel.unit.map(Self.units.contains) == true, "\(panel.title)")
            #expect(!panel.queries.isEmpty && panel.queries.count == panel.targets.count, "\(panel.title)")
            let names = panel.targets.compactMap { $0["refId"] as? String }
            #expect(Set(names).count == panel.targets.count, "\(panel.title)")
        }
    }

    @Test("Every datasource is the variable's, and every query asks for the job and the instances that are chosen")
    func variables() throws {
        let text = try deployed("grafana-dashboard.json")
        let sources = matches(of: #""datasource": (\{[^}]*\}\"?\}?)"#, in: text)
        #expect(sources.count > 20)
        #expect(Set(sources) == [#"{"type": "prometheus", "uid": "${datasource}"}"#])
        for (title, query) in dashboard.queries {
            let selectors = matches(of: "(\\{[^}]*\\})", in: query)
            #expect(!selectors.isEmpty, "\(title)")
            for selector in selectors {
                #expect(selector.hasPrefix(#"{job=~"$job", instance=~"$instance""#), "\(title): \(query)")
            }
        }
    }

    @Test("Each runbook section that a description names is there")
    func runbook() throws {
        let names = Set(try Alert.all().map(\.name))
        let named = matches(of: "Runbook: (\\w+)", in: try deployed("grafana-dashboard.json"))
        #expect(named.count > 5 && Set(named).subtracting(names).isEmpty)
    }
}
