"""A folder of models, which of them decides, and how that came about.

    REGISTRY/
      registry.json    says that this is a registry, and of which layout
      <hash>/          a bundle by its content hash, as `models.artifact` writes it; never changed, never removed
      champion         the hash of the bundle that decides
      challenger       the hash of the bundle that may follow it
      audit.jsonl      every change: who, what, when, why, with its numbers; each line has the hash of the last
      lock             held by who writes

A model is *champion*, *challenger*, *archived* (it was one of them and is kept), or *candidate* (it never was). The
audit log is written first and says which aliases hold after it; the alias files follow. A writer that died between
the two is made good by the next one, and readers see the old state or the new one, never a part of either. Readers
take no lock.

    files      durable writes, and the lock
    audit      the log, read and checked, and appended to
    folder     `ModelRegistry`
    schema     whether one model may follow another
    whole      whether a model is as its manifest says

Who may write the folder can also write a new log with right hashes: the chain shows edits, it does not prevent them.
Note the hash of the last line elsewhere (`clearbid models registry log` prints it) where that matters.
"""

from models.aliases import CHALLENGER, CHAMPION, is_registry
from models.registry.audit import Entry
from models.registry.folder import Kept, ModelRegistry

__all__ = ["CHALLENGER", "CHAMPION", "Entry", "Kept", "ModelRegistry", "is_registry"]
