"""The benchmark market as files: a worker's configuration and its models, as `clearbid bid` reads them."""

import platform
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks.market import KEY, SEAT, TRAINING_ROWS, TREES, Market, Trained
from bidder.config import Config, load_config
from models.artifact import FORMAT, MODEL_NAMES, Manifest, ModelReport, save_bundle
from models.calibration import CalibrationTable
from models.evaluate import Metrics

_UNMEASURED = Metrics(
    rows=0,
    positives=0,
    auc=None,
    log_loss=None,
    normalized_entropy=None,
    calibration_ratio=None,
    ece=None,
)
"""What the models are worth is not the question here."""


def write_models(trained: Trained, directory: Path) -> Path:
    """Writes both models as a bundle; returns the directory."""
    report = ModelReport(
        kind="lightgbm",
        rounds=TREES,
        early_stopping=False,
        training_rows=TRAINING_ROWS,
        training_positives=0,
        calibration="offset",
        before=_UNMEASURED,
        after=_UNMEASURED,
    )
    manifest = Manifest(
        format=FORMAT,
        spec_hash="",
        files={},
        window_ns=(0, 0),
        rows={"train": TRAINING_ROWS, "calibration": 0, "test": 0},
        label_rates={},
        table_sha256="",
        created_from="benchmarks.market",
        params={},
        models=dict.fromkeys(MODEL_NAMES, report),
        versions={"python": platform.python_version(), "lightgbm": version("lightgbm")},
    )
    calibration = {
        name: CalibrationTable("offset", tuple(raw.tolist()), tuple(probability.tolist()))
        for name, (raw, probability) in zip(MODEL_NAMES, trained.knots, strict=True)
    }
    save_bundle(
        directory, manifest, trained.spec, dict(zip(MODEL_NAMES, trained.texts, strict=True)), calibration
    )
    return directory


def write_config(path: Path, market: Market, bootstrap: str, prefix: str) -> Config:
    """Writes the configuration of a worker with the market's settings, and the files that it names; reads it back.

    Args:
        path: of the file. market: whose settings. bootstrap: the broker. prefix: of topics and groups.
    """
    settings = market.settings
    networks, rates = path.with_suffix(".networks"), path.with_suffix(".rates.json")
    networks.write_text("\n".join(settings.data_centres) + "\n", encoding="utf-8")
    rates.write_bytes(msgspec.json.encode(settings.rates))
    lines = [
        *("[kafka]", f'bootstrap = "{bootstrap}"', f'prefix = "{prefix}"'),
        *("[account]", f'currency = "{settings.currency}"', f'rates_file = "{rates}"'),
        *("[bid]", f'seat = "{SEAT}"'),
        *("[track]", f'secret = "{KEY.hex()}"'),
        *("[traffic]", f'networks_file = "{networks}"'),
        *_section("privacy", settings.privacy),
        *_section("users", settings.users),
        *_section("pacing", settings.pacing),
    ]
    for name, rules in settings.exchanges.items():
        lines += _section(f"exchanges.{name}", rules)
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_config(path, env={})


def _section(name: str, values: msgspec.Struct) -> list[str]:
    """A table of TOML; JSON writes its scalars and lists alike."""
    fields = msgspec.structs.asdict(values)
    return [f"[{name}]", *(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in fields.items())]
