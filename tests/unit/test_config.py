"""Configuration: file and environment, and an error that says where and what is allowed."""

from pathlib import Path

import pytest

from bidder.cli.options import configured
from bidder.config import Config, load_config, with_setting
from bidder.core.settings import ExchangeRules
from bidder.core.traffic import TrafficRules
from bidder.errors import ConfigError, InputError

SECRET = "0123456789abcdef" * 4


def load(tmp_path: Path, text: str, **env: str) -> Config:
    path = tmp_path / "clearbid.toml"
    path.write_text(text)
    return load_config(path, env)


def error_of(tmp_path: Path, text: str, **env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **env)
    return str(caught.value).replace(str(tmp_path) + "/", "")


def test_without_a_file_all_is_default() -> None:
    assert load_config(None, {}) == Config()


def test_a_file_sets_what_it_names(tmp_path: Path) -> None:
    config = load(tmp_path, "[bank]\nlease_seconds = 20\n[exchanges.alpha]\nresult_seconds = 3.5\n")
    assert config.bank.lease_seconds == 20
    assert config.exchanges == {"alpha": ExchangeRules(result_seconds=3.5)}
    assert config.kafka == Config().kafka


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, "[bank]\nlease_seconds = 20\n", CLEARBID_BANK_LEASE_SECONDS="10.5")
    assert config.bank.lease_seconds == 10.5


def test_the_environment_holds_numbers_and_flags_as_text() -> None:
    config = load_config(None, {"CLEARBID_TRACK_PORT": "99", "CLEARBID_STORE_DURABLE": "false", "HOME": "/"})
    assert (config.track.port, config.store.durable) == (99, False)


def test_the_environment_reaches_an_exchange_of_the_file(tmp_path: Path) -> None:
    text = "[exchanges.Ad-X]\nresult_seconds = 3.5\n"
    config = load(tmp_path, text, CLEARBID_EXCHANGES_AD_X_BILLING_SECONDS="7")
    assert config.exchanges == {"Ad-X": ExchangeRules(result_seconds=3.5, billing_seconds=7)}


def test_the_environment_can_name_a_new_exchange() -> None:
    config = load_config(None, {"CLEARBID_EXCHANGES_ALPHA_NETWORK_MARGIN_MS": "5"})
    assert config.exchanges == {"alpha": ExchangeRules(network_margin_ms=5)}


def test_variables_of_tests_and_of_the_command_line_are_no_settings() -> None:
    assert load_config(None, {"CLEARBID_KAFKA": "127.0.0.1:9", "CLEARBID_CONFIG": "x.toml"}) == Config()


def test_an_unknown_key_names_key_section_file_and_nearest(tmp_path: Path) -> None:
    assert error_of(tmp_path, "[bank]\nlease_secs = 1\n") == (
        "lease_secs in [bank] of clearbid.toml is no setting; nearest: lease_seconds"
    )


def test_an_unknown_key_that_is_near_none_lists_what_is_allowed(tmp_path: Path) -> None:
    assert error_of(tmp_path, "[account]\nxyz = 1\n") == (
        "xyz in [account] of clearbid.toml is no setting; allowed: currency, rates_file"
    )


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path, "[banks]\n") == "banks in clearbid.toml is no setting; nearest: bank, brakes"


def test_an_unknown_key_of_an_exchange_is_named(tmp_path: Path) -> None:
    message = error_of(tmp_path, "[exchanges.alpha]\nresult_second = 1\n")
    assert message.startswith("result_second in [exchanges.alpha] of clearbid.toml is no setting")


def test_an_unknown_variable_is_named_with_its_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"CLEARBID_BANK_LEASE_SECOND": "1"})
    assert "CLEARBID_BANK_LEASE_SECOND in the environment is no setting" in str(caught.value)
    assert "nearest: CLEARBID_BANK_LEASE_SECONDS" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[bank]\nlease_seconds = 0\n",
            "lease_seconds in [bank] of clearbid.toml must be float > 0.0, was 0",
        ),
        ("[bank]\nlease_seconds = 'a'\n", "lease_seconds in [bank] of clearbid.toml must be float, was 'a'"),
        (
            "[exchanges.adx]\nmoney_event = 'view'\n",
            "money_event in [exchanges.adx] of clearbid.toml must be 'billing' or 'win' or 'impression', was 'view'",
        ),
        (
            "[kafka]\nbootstrap = 'here'\n",
            "bootstrap in [kafka] of clearbid.toml must be host:port[,host:port...], was 'here'",
        ),
        (
            "[account]\ncurrency = 'usd'\n",
            "currency in [account] of clearbid.toml must be three capitals such as USD, was 'usd'",
        ),
        ("[store]\ndurable = 'yes'\n", "durable in [store] of clearbid.toml must be bool, was 'yes'"),
        ("bank = 1\n", "[bank] of clearbid.toml must be a table, was 1"),
        ("exchanges = 1\n", "[exchanges] of clearbid.toml must be a table, was 1"),
        ("[exchanges]\nalpha = 1\n", "[exchanges.alpha] of clearbid.toml must be a table, was 1"),
    ],
)
def test_a_wrong_value_names_key_section_file_and_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    assert error_of(tmp_path, text) == message


def test_a_wrong_value_of_the_environment_names_its_variable() -> None:
    with pytest.raises(ConfigError, match="CLEARBID_TRACK_PORT in the environment must be int, was 'x'"):
        load_config(None, {"CLEARBID_TRACK_PORT": "x"})


def test_a_wrong_secret_is_not_shown(tmp_path: Path) -> None:
    message = error_of(tmp_path, f"[track]\nsecret = '{SECRET}x'\n")
    assert message.startswith("secret in [track] of clearbid.toml must be 32 to 128 hex digits")
    assert "0123" not in message


def test_a_secret_is_not_in_what_a_configuration_prints(tmp_path: Path) -> None:
    config = load(tmp_path, f"[track]\nsecret = '{SECRET}'\n")
    assert config.key() == bytes.fromhex(SECRET)
    assert "0123" not in repr(config)


def test_who_needs_the_secret_is_told_how_to_make_one() -> None:
    with pytest.raises(ConfigError, match=r"secret in \[track\] must be set .*openssl rand -hex 32"):
        Config().key()


def test_a_file_that_is_not_there_or_no_toml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.toml", {})
    assert "clearbid.toml must be TOML, was not" in error_of(tmp_path, "[bank")


def test_an_option_of_the_command_line_is_checked_and_named() -> None:
    config = with_setting(Config(), "kafka", "bootstrap", "b:1,c:2", "--kafka")
    assert config.kafka.bootstrap == "b:1,c:2"
    with pytest.raises(ConfigError, match="bootstrap in --kafka must be host:port"):
        with_setting(Config(), "kafka", "bootstrap", "b", "--kafka")


def test_engine_settings_are_those_of_the_sections(tmp_path: Path) -> None:
    text = (
        "[account]\ncurrency = 'EUR'\n[bid]\nseat = 's9'\n[track]\npublic_url = 'https://t.example'\n"
        "[pacing]\neta = 0.01\n[exchanges.alpha]\n"
    )
    settings = load(tmp_path, text).engine_settings()
    assert (settings.currency, settings.seat, settings.public_url) == ("EUR", "s9", "https://t.example")
    assert (settings.pacing.eta, settings.exchanges) == (0.01, {"alpha": ExchangeRules()})


def test_networks_of_data_centres_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "nets").write_text("# hosting\n203.0.113.0/24\n\n2001:db8::/32  # all of it\n")
    text = f"[traffic]\nuser_per_minute = 5\nnetworks_file = '{tmp_path}/nets'\n"
    settings = load(tmp_path, text).engine_settings()
    assert settings.data_centres == ("203.0.113.0/24", "2001:db8::/32")
    assert settings.traffic == TrafficRules(user_per_minute=5)


def test_a_line_that_is_no_network_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "nets").write_text("203.0.113.0/24\nhosting\n")
    config = load(tmp_path, f"[traffic]\nnetworks_file = '{tmp_path}/nets'\n")
    with pytest.raises(InputError, match=r"was 'hosting' \(line 2, .*nets"):
        config.engine_settings()


def test_rates_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "rates.toml").write_text("base = 'USD'\n[rates.2026-11-01]\nEUR = '1.0842'\n")
    config = load(tmp_path, f"[account]\nrates_file = '{tmp_path}/rates.toml'\n")
    assert config.engine_settings().rates == {"base": "USD", "rates": {"2026-11-01": {"EUR": "1.0842"}}}


def test_privacy_users_and_the_funnel_are_settings_of_the_engine(tmp_path: Path) -> None:
    text = "[privacy]\nvendor_id = 9\n[users]\ncap_pairs = 64\n[bid]\nfunnel = false\n"
    settings = load(tmp_path, text).engine_settings()
    assert (settings.privacy.vendor_id, settings.users.cap_pairs, settings.funnel) == (9, 64, False)


def test_the_environment_holds_lists_with_commas() -> None:
    config = load_config(None, {"CLEARBID_EXCHANGES_ALPHA_SCHAIN_BLOCKED": "a.example,b.example/7"})
    assert config.exchanges["alpha"].schain_blocked == ("a.example", "b.example/7")


def test_traffic_shape_is_read_as_a_list(tmp_path: Path) -> None:
    assert load(tmp_path, "[pacing]\ntraffic_shape = [1.0, 2]\n").pacing.traffic_shape == (1.0, 2.0)


def test_markup_must_be_secure_unless_the_tracker_is_on_loopback():
    load_config(None, {}).check_public_url()
    open_web = load_config(None, {"CLEARBID_TRACK_PUBLIC_URL": "http://track.example"})
    with pytest.raises(ConfigError, match=r"public_url in .track. must be https"):
        open_web.check_public_url()
    load_config(None, {"CLEARBID_TRACK_PUBLIC_URL": "https://track.example"}).check_public_url()


def test_tokens_of_old_secrets_are_still_taken(tmp_path):
    path = tmp_path / "clearbid.toml"
    path.write_text(f"[track]\nsecret = '{'ab' * 16}'\nold_secrets = ['{'cd' * 16}']\n")
    config = load_config(path, {})
    assert config.keys() == [bytes.fromhex("ab" * 16), bytes.fromhex("cd" * 16)]
    assert "cdcd" not in repr(config)


PRICE_KEY = "skU7Ax_NL5pPAFyKdkfZjZz2-VhIN8bjj1rVFOaJ_5o"


@pytest.mark.parametrize("padding", ["", "="])
def test_keys_of_prices_are_read_by_exchange_and_not_shown(tmp_path: Path, padding: str) -> None:
    key = PRICE_KEY + padding
    config = load(tmp_path, f"[track.price_keys.adx]\nencryption = '{key}'\nintegrity = '{key}'\n")
    cipher = config.ciphers()["adx"]
    assert cipher.parse(cipher.encrypt(1_500_000, b"v" * 16)).cpm_micros == 1_500_000
    assert PRICE_KEY not in repr(config) + str(config.track) + repr(config.track.price_keys)


def test_a_wrong_key_of_prices_is_named_and_not_shown(tmp_path: Path) -> None:
    message = error_of(tmp_path, f"[track.price_keys.adx]\nencryption = '{PRICE_KEY}x'\nintegrity = ''\n")
    assert message.startswith(
        "encryption in [track.price_keys.adx] of clearbid.toml must be 32 bytes as web-safe"
    )
    assert PRICE_KEY not in message


def test_without_a_folder_nothing_is_spooled() -> None:
    assert (Config().track.spool_dir, Config().ciphers()) == ("", {})


STORE_URL = "postgresql://me:hush@db.example:5432/clearbid"


def test_the_password_of_a_store_is_not_in_what_a_configuration_prints(tmp_path: Path) -> None:
    config = load(tmp_path, f"[store]\nurl = '{STORE_URL}'\n")
    assert config.store.place == STORE_URL
    assert "hush" not in repr(config)
    assert load(tmp_path, "").store.place == "clearbid.db"


def test_a_wrong_url_of_a_store_is_not_shown(tmp_path: Path) -> None:
    message = error_of(tmp_path, "[store]\nurl = 'mysql://me:hush@db/x'\n")
    assert message.startswith("url in [store] of clearbid.toml must be a URL that begins with postgresql://")
    assert "hush" not in message


@pytest.mark.parametrize(
    ("name", "value"), [("CLEARBID_STORE_URL", "mysql://me:hush@db/x"), ("CLEARBID_TRACK_SECRET", "hush")]
)
def test_a_wrong_secret_in_the_environment_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} in the environment must be") as caught:
        load_config(None, {name: value})
    assert "hush" not in str(caught.value)


def test_a_file_named_on_the_command_line_wins_over_a_url(tmp_path: Path) -> None:
    path = tmp_path / "clearbid.toml"
    path.write_text(f"[store]\nurl = '{STORE_URL}'\n")
    assert configured(path, db=str(tmp_path / "own.db")).store.place == str(tmp_path / "own.db")
    assert configured(path).store.place == STORE_URL
