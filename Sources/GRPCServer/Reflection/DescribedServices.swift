/// The definitions of all services that may be served, for reflection. `Protos` has them as people write them.
struct DescribedServices {
    /// The compiled definitions, each after those that it imports.
    static let known: DescribedServices = {
        do throws(ProtobufError) {
            return DescribedServices(try DescribedFile.files(of: PackageResources.services_bin))
        } catch {
            preconditionFailure("the definitions that are built in are whole: \(error)")
        }
    }()

    private let files: [String: DescribedFile]
    private let fileOfSymbol: [String: String]

    init(_ files: [DescribedFile]) {
        self.files = Dictionary(files.map { ($0.name, $0) }) { first, _ in first }
        fileOfSymbol = Dictionary(files.flatMap { file in file.symbols.map { ($0, file.name) } }) { first, _ in first }
    }

    /// A file, and behind it all that it imports; nil where there is none of that name.
    func file(named name: String) -> [DescribedFile]? {
        guard let file = files[name] else { return nil }
        var found = [file]
        var index = 0
        while index < found.count {
            for imported in found[index].imports where !found.contains(where: { $0.name == imported }) {
                if let file = files[imported] { found.append(file) }
            }
            index += 1
        }
        return found
    }

    /// The file that defines a service, a method, a message or an enumeration, and all that it imports.
    func file(defining symbol: String) -> [DescribedFile]? { fileOfSymbol[symbol].flatMap { file(named: $0) } }
}
