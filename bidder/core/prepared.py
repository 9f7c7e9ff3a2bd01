"""What an engine goes on with when its campaigns change: the table, and all that is made of it alone."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bidder.core.brakes import Watched
from bidder.core.campaigns import Advertiser, Campaign
from bidder.core.charges import Charges
from bidder.core.matches import fingerprint
from bidder.core.scoring import Model, Own
from bidder.core.servable import check_campaigns
from bidder.core.settings import EngineSettings
from bidder.core.table import LineTable
from models.kernels import Masks


class Prepared(NamedTuple):
    """A table and all that is made of it alone; making it may be done beside the loop, adopting it is quick."""

    table: LineTable
    line_masks: Masks
    line_values: NDArray[np.uint64]
    charges: Charges
    watched: Watched
    fingerprint: int

    @classmethod
    def of(
        cls,
        campaigns: Mapping[str, Campaign],
        version: int,
        advertisers: Mapping[str, Advertiser] | None,
        settings: EngineSettings,
        model: Model | None,
    ) -> "Prepared":
        """Makes it of all campaigns, for a seat of these settings and the model that decides.

        Raises:
            InputError: a campaign that such a seat cannot serve.
        """
        check_campaigns(campaigns, settings.currency)
        table = LineTable(campaigns, version, settings, advertisers)
        if model is None:
            own = Own(np.zeros((len(table), 0), dtype=np.uint32), np.zeros((len(table), 0), dtype=np.uint64))
        else:
            own = model.own(table.lines)
        watched = Watched.of(table.lines, settings.brakes)
        return cls(table, own.masks, own.values, Charges(table), watched, fingerprint(table))

    def scored_by(self, model: Model, own: Own | None = None) -> "Prepared":
        """The same campaigns under another model; `own` is what its line items bring to it, where that is made."""
        own = own or model.own(self.table.lines)
        return self._replace(line_masks=own.masks, line_values=own.values)
