"""An own data set."""

from collections.abc import Sequence

from coavt_mm.datasets import AVTDataset
from coavt_mm.errors import ConfigError
from coavt_mm.registry import DATASETS


@DATASETS.register_module()
class LabelSubsetDataset(AVTDataset):
    """A manifest of which some of the labels are taken as classes, the rest ignored.

    Args:
        keep: The labels that count, in the order of their indices.
        **kwargs: Those of AVTDataset.
    """

    def __init__(self, *, keep: Sequence[str], **kwargs):
        self.keep = list(keep)
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Rows with ``gt_label`` among the labels kept; rows without one are left
        out."""
        rows = super().load_data_list()
        for row in rows:
            row['gt_label'] = [self.keep.index(x) for x in row['labels']
                               if x in self.keep]  # fmt: skip
        kept = [row for row in rows if row['gt_label']]
        if not kept:
            raise ConfigError(f'{self.ann_file}: no clip has one of {self.keep}')
        self._metainfo.update(classes=self.keep, clips=len(kept))
        return kept
