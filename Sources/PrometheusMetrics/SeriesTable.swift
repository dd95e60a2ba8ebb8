/// The storage of one series.
enum Series: Sendable {
    case counter(CounterSeries)
    case floatingCounter(FloatingCounterSeries)
    case gauge(GaugeSeries)
    case histogram(HistogramSeries)
    /// Not stored: read from the kernel whenever the page is rendered.
    case process(ProcessReading)

    /// The object that swift-metrics holds, or nil for a reading.
    var handler: AnyObject? {
        switch self {
        case .counter(let series): series
        case .floatingCounter(let series): series
        case .gauge(let series): series
        case .histogram(let series): series
        case .process: nil
        }
    }
}

/// One metric and its series, the latter sorted by labels.
struct MetricFamily: Sendable {
    let description: MetricDescription
    var members: [(labels: LabelSet, series: Series)] = []

    /// The place of the first member whose labels do not come before `labels`.
    func place(of labels: LabelSet) -> Int {
        var low = 0
        var high = members.count
        while low < high {
            let middle = (low + high) / 2
            if members[middle].labels < labels { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// All families, sorted by name, with a bound on the number of series.
struct SeriesTable: Sendable {
    /// Why a series could not be had.
    enum Refusal: Error {
        case unknownName, invalidLabels, full
    }

    private(set) var families: [MetricFamily]
    private let indexByName: [String: Int]
    private let limit: Int
    private var count = 0

    /// `descriptions` have been checked; their names differ.
    init(descriptions: [MetricDescription], limit: Int) {
        let sorted = descriptions.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        families = sorted.map { MetricFamily(description: $0) }
        indexByName = Dictionary(uniqueKeysWithValues: sorted.enumerated().map { ($1.name, $0) })
        self.limit = limit
    }

    /// The series of that name and those labels, made by `make` where it does not exist yet.
    mutating func series(
        name: String,
        dimensions: [(String, String)],
        make: (MetricDescription.Kind) -> Series?
    ) throws(Refusal) -> Series? {
        guard let index = indexByName[name] else { throw .unknownName }
        guard let labels = LabelSet(dimensions) else { throw .invalidLabels }
        let place = families[index].place(of: labels)
        if place < families[index].members.count, families[index].members[place].labels == labels {
            return families[index].members[place].series
        }
        guard count < limit else { throw .full }
        guard let made = make(families[index].description.kind) else { return nil }
        families[index].members.insert((labels, made), at: place)
        count += 1
        return made
    }

    /// Takes the series that `handler` stores off the page.
    mutating func remove(_ handler: AnyObject) {
        for index in families.indices {
            guard let place = families[index].members.firstIndex(where: { $0.series.handler === handler }) else {
                continue
            }
            families[index].members.remove(at: place)
            count -= 1
            return
        }
    }
}
