"""The indexed text of a whole file, joined from its chunks."""

from dataclasses import dataclass

from services.api.live import LiveFile, LiveRepo, find_file
from services.api.search import Searcher


@dataclass(frozen=True, slots=True)
class FileText:
    """A file as it is indexed; `symbols` are (line of the chunk, name) of every definition."""

    live: LiveRepo
    file: LiveFile
    text: str
    symbols: tuple[tuple[int, str], ...]


def read_file(searcher: Searcher, repo: str, path: str) -> FileText:
    """Return the text of a file at the live revision.

    Raises:
        NotFound: there is no such repository, or the file is not indexed.
        CorruptData: what is stored does not match its digest.
    """
    with searcher.barrier.reading():
        live = searcher.live.view((repo,)).repos[repo]
        file = find_file(searcher.live.files(live), repo, path)
        pack = searcher.packs.get(file.pack)
        text = pack.file(file.first, file.count).decode(errors="replace")
        places = pack.places(file.first, file.count)
        symbols = tuple((place.start_line, name) for place in places for name in place.defines)
    return FileText(live, file, text, symbols)
