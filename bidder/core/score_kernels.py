"""An opportunity as the compiled models read it: once for all its candidates."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from numba import njit

from models.kernels import and_rows, feature_row


@njit(cache=True)
def request_mask(
    values, row, request_features, feature_kind, first_row, thr_start, thresholds, cat_start, category_rows,
    masks, rows, mask,
):  # fmt: skip
    """ANDs the leaf rows of one opportunity's features into `mask`, once for all its candidates."""
    n = request_features.shape[0]
    for k in range(n):
        rows[k] = feature_row(
            values[row, k], request_features[k], feature_kind, first_row, thr_start, thresholds, cat_start,
            category_rows,
        )  # fmt: skip
    and_rows(masks, rows, n, mask)


@njit(cache=True)
def whole_row(values, row, request_features, line_features, own, whole):
    """Puts the values of an opportunity and the codes of a line item where LightGBM looks for them."""
    for k in range(request_features.shape[0]):
        whole[request_features[k]] = values[row, k]
    for k in range(line_features.shape[0]):
        whole[line_features[k]] = own[k]
