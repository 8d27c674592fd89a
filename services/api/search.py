"""Search: from a request to ranked hits with their texts."""

import logging
import time
from dataclasses import replace
from functools import cache
from itertools import islice

from services.api.barrier import ReadBarrier
from services.api.candidates import Retriever
from services.api.hits import Hit, SearchResult
from services.api.live import Live, LiveRepo
from services.api.lookup import WordLookup
from services.api.packtext import PackTexts
from services.api.patterns import literal, regex
from services.api.permalink import Place, permalink
from services.api.ranking import Ranked
from services.api.request import Mode, SearchRequest
from services.api.rerank import Judge
from services.api.scan import Found, Sources, scan
from services.api.scope import Scope, scope_of
from services.core.catalog import Catalog
from services.core.errors import CorruptData, NotFound
from services.core.ledger import Ledger
from services.core.pack import read_text
from services.core.payload import StoredChunk
from services.core.ports import BlobStore, Embedder, Reranker, VectorReader

log = logging.getLogger(__name__)


class Searcher:
    """Answers searches over everything that is live; safe for threads.

    `page_url` goes before links to Quarry's own page, whose default is a path. `schema` is that of
    `vectors`: what was indexed for another one is not searched and named as outdated; "" checks nothing.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        vectors: VectorReader,
        blobs: BlobStore,
        catalog: Catalog,
        ledger: Ledger,
        barrier: ReadBarrier | None = None,
        scan_timeout_s: float = 10.0,
        page_url: str = "",
        schema: str = "",
        reranker: Reranker | None = None,
        rerank_depth: int = 20,
    ) -> None:
        self.barrier = barrier or ReadBarrier()
        self.live = Live(catalog, ledger, blobs, schema)
        self.packs = PackTexts(blobs)
        self._sources = Sources(WordLookup(blobs), self.packs)
        self.vectors = vectors
        self.retriever = Retriever(embedder, vectors)
        self._judge = Judge(reranker, rerank_depth) if reranker else None
        self._blobs = blobs
        self._scan_timeout_s = scan_timeout_s
        self._page_url = page_url

    def search(self, request: SearchRequest) -> SearchResult:
        """Answer `request`.

        `semantic` and `lexical` rank by one score alone; `hybrid` joins both and applies the ranking
        rules; `symbol` finds definitions by name; `exact` finds the bytes as given; `regex` ignores
        case unless the expression has a capital letter.

        Raises:
            NotFound: a repository it names is not there.
            InvalidRequest: its path or expression is not valid.
        """
        started = time.perf_counter()
        with self.barrier.reading():
            scope = scope_of(request, self.live.view(request.repos), self.live)
            scans = request.mode in (Mode.EXACT, Mode.REGEX)
            result = self._scan(request, scope) if scans else self._rank(request, scope)
        took_ms = (time.perf_counter() - started) * 1000
        return replace(result, took_ms=took_ms)

    def _rank(self, request: SearchRequest, scope: Scope) -> SearchResult:
        ranked = self.retriever.ranked(request, scope)
        text_of = cache(self._text)
        if self._judge and request.mode is Mode.HYBRID:
            ranked = self._judge.order(request.query, ranked, text_of)
        damaged = 0
        hits: list[Hit] = []
        for each in islice(ranked, request.offset, None):
            if len(hits) == request.limit:
                break
            text = text_of(each.chunk)
            if text is None:
                damaged += 1
            else:
                hits.append(self._hit(each, scope.repos[each.chunk.repo], text, explain=request.explain))
        return SearchResult(request.query, 0.0, tuple(hits), scope.indexing, scope.outdated, damaged=damaged)

    def _scan(self, request: SearchRequest, scope: Scope) -> SearchResult:
        pattern = literal(request.query) if request.mode is Mode.EXACT else regex(request.query)
        best = request.offset + request.limit
        packs = scope.packs(self.live)
        found = scan(self._sources, pattern, packs, scope.admits_file, best=best, timeout_s=self._scan_timeout_s)
        for pack in found.damaged:
            log.error("pack_damaged", extra={"pack": pack})
        hits = tuple(self._found(each, scope.repos[each.repo]) for each in found.hits[request.offset :])
        return SearchResult(
            request.query,
            0.0,
            hits,
            scope.indexing,
            scope.outdated,
            truncated=found.truncated,
            damaged=len(found.damaged),
            matches=found.matches,
            files=found.files,
        )

    def _text(self, chunk: StoredChunk) -> str | None:
        """Return a chunk's text, None if it is damaged: rather one hit less than a wrong one."""
        try:
            return read_text(self._blobs, chunk.pack, chunk.text).decode(errors="replace")
        except (CorruptData, NotFound) as error:
            log.error("text_damaged", extra={"repo": chunk.repo, "path": chunk.path, "error": str(error)})
            return None

    def _hit(self, ranked: Ranked, live: LiveRepo, text: str, *, explain: bool) -> Hit:
        chunk = ranked.chunk
        place = Place(chunk.repo, chunk.path, live.revision, chunk.start_line, chunk.end_line)
        return Hit(
            repo=chunk.repo,
            path=chunk.path,
            start_line=chunk.start_line,
            end_line=chunk.end_line,
            language=chunk.language,
            kind=chunk.kind,
            symbol=chunk.symbol,
            score=ranked.score,
            text=text,
            revision=live.revision,
            url=permalink(live.repo.source, place, self._page_url),
            rules=tuple(ranked.rules.items()) if explain else (),
        )

    def _found(self, found: Found, live: LiveRepo) -> Hit:
        file, chunk = found.file, found.place
        place = Place(found.repo, file.path, live.revision, chunk.start_line, chunk.end_line)
        return Hit(
            repo=found.repo,
            path=file.path,
            start_line=chunk.start_line,
            end_line=chunk.end_line,
            language=file.language,
            kind=file.kind,
            symbol=chunk.symbol,
            score=found.score,
            text=found.text.decode(errors="replace"),
            revision=live.revision,
            url=permalink(live.repo.source, place, self._page_url),
            matches=found.matches,
        )
