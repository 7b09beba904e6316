"""`notifications:`: who is told, and that neither URL nor secret is written down or shown."""

import traceback
from ipaddress import ip_network
from pathlib import Path

import pytest

from cleanup_pipeline.model.alert import AlertSeverity
from cleanup_pipeline.settings import SettingsError
from cleanup_pipeline.settings.notifications import Channel, ChannelType

from .conftest import Faults, Load

SECRET = "hunter2"
ENVIRON = {
    "HOOK": f"https://example.org/{SECRET}",
    "KEY": SECRET,
    "BAD": "whsec_hunter2!",
    "NEXT": "whsec_aHVudGVyMg==",
    "SLACK": f"slack://{SECRET}",
}


def channels(load: Load, text: str, **environ: str) -> dict[str, Channel]:
    return dict(load(text, {**ENVIRON, **environ}).notifications.channels)


def test_nobody_is_told_unless_somebody_is_named(load: Load) -> None:
    assert load("").notifications.channels == {} and load("").notifications.per_hour == 20


def test_channels(load: Load, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"mailto://u:{SECRET}@example.org\n")
    (tmp_path / "key").write_text(f"{SECRET}\nold {SECRET}\n")
    text = """
notifications:
  per_hour: 5
  channels:
    ops: {type: webhook, url: "${HOOK}", secret: "${KEY}"}
    team: {type: apprise, url: "${SLACK}", only: [CleanupNotRunning, pass_given_up], min_severity: critical}
    both: {type: webhook, url: "https://example.org/${KEY}", secret: ["${KEY}", "${NEXT}"]}
    mail: {type: apprise, url_file: url}
    file: {type: webhook, url: "${HOOK}", secret_file: key}
"""
    found = channels(load, text)
    assert load(text, ENVIRON).notifications.per_hour == 5
    assert found["ops"] == Channel("ops", ChannelType.WEBHOOK, ENVIRON["HOOK"], (SECRET,))
    assert found["team"].only == {"CleanupNotRunning", "pass_given_up"}
    assert found["team"].min_severity is AlertSeverity.CRITICAL
    assert found["both"].secrets == (SECRET, ENVIRON["NEXT"])
    assert found["mail"].url == f"mailto://u:{SECRET}@example.org"
    assert found["file"].secrets == (SECRET, f"old {SECRET}")
    assert SECRET not in repr(load(text, ENVIRON))


def test_two_variables_make_a_channel(load: Load) -> None:
    hook = {"CLEANUP_NOTIFY_URL": ENVIRON["HOOK"]}
    assert channels(load, "", **hook) == {"default": Channel("default", ChannelType.WEBHOOK, ENVIRON["HOOK"])}
    assert channels(load, "", **hook, CLEANUP_NOTIFY_SECRET=SECRET)["default"].secrets == (SECRET,)
    assert list(channels(load, 'notifications: {channels: {ops: {type: webhook, url: "${HOOK}"}}}', **hook)) == ["ops"]


def test_by_environment_alone(load: Load) -> None:
    found = channels(
        load,
        "",
        CLEANUP__NOTIFICATIONS__PER_HOUR="3",
        CLEANUP__NOTIFICATIONS__CHANNELS__OPS__TYPE="webhook",
        CLEANUP__NOTIFICATIONS__CHANNELS__OPS__URL=ENVIRON["HOOK"],
        CLEANUP__NOTIFICATIONS__CHANNELS__OPS__SECRET="12345",
    )
    assert found == {"ops": Channel("ops", ChannelType.WEBHOOK, ENVIRON["HOOK"], ("12345",))}


@pytest.mark.parametrize(
    ("channel", "path", "message"),
    [
        ("{type: webhook, url: 'https://h/hunter2'}", "url", "a URL written in the settings file"),
        ("{type: webhook, url: '${NONE:-https://h/hunter2}'}", "url", "a URL written in the settings file"),
        ("{type: webhook, url: 'https://u:hunter2@h/${KEY}'}", "url", "a URL written in the settings file"),
        ("{type: apprise, url: 'slack://hunter2'}", "url", "a URL written in the settings file"),
        ("{type: webhook, url: '${KEY}'}", "url", "something that is no URL in ${KEY}"),
        ("{type: webhook, url: '${SLACK}'}", "url", "something else in ${SLACK}, expected an http:// or https:// URL"),
        ("{type: webhook, url: 'https://${KEY}@h/'}", "url", "a URL with a user in ${KEY}"),
        ("{type: webhook, url: 'https://h:${KEY}/'}", "url", "something else in ${KEY}"),
        ("{type: webhook, url: [hunter2]}", "url", "a list"),
        ("{type: webhook}", "url", "found nothing, expected a URL as ${VAR}, or url_file"),
        ("{url: '${HOOK}'}", "type", "found nothing, expected webhook or apprise"),
        ("{type: email, url: '${HOOK}'}", "type", "expected webhook or apprise"),
        ("{type: webhook, url: '${HOOK}', secret: hunter2}", "secret", "a secret written in the settings file"),
        ("{type: webhook, url: '${HOOK}', secret: 'hunter2${KEY}'}", "secret", "a secret written in the settings file"),
        ("{type: webhook, url: '${HOOK}', secret: ['${KEY}', hunter2]}", "secret", "a secret written in the settings"),
        ("{type: webhook, url: '${HOOK}', secret: []}", "secret", "0 secrets"),
        ("{type: webhook, url: '${HOOK}', secret: 'whsec_${KEY}!'}", "secret", "a secret written in the settings file"),
        ("{type: webhook, url: '${HOOK}', secret: '${BAD}'}", "secret", "which is no secret"),
        ("{type: webhook, url: '${HOOK}', secret_file: /none/x}", "secret_file", "cannot be read (FileNotFoundError)"),
        ("{type: apprise, url: '${SLACK}', secret: '${KEY}'}", "secret", "no secret, which is for webhooks"),
        ("{type: webhook, url: '${HOOK}', only: [CleanupSlw]}", "only", "did you mean CleanupSlow?"),
        ("{type: webhook, url: '${HOOK}', only: CleanupSlow}", "only", "a list of alerts or events"),
        ("{type: webhook, url: '${HOOK}', min_severity: info}", "min_severity", "expected warning or critical"),
        ("{type: webhook, url: '${HOOK}', url_file: x}", None, "one of the two"),
        ("{type: webhook, url: '${HOOK}', tokn: hunter2}", "tokn", "an unknown key"),
        ("https://hunter2", None, "found a URL (not shown)"),
    ],
    # They would be in the path of the file.
    ids=map(str, range(26)),
)
def test_faults(load: Load, channel: str, path: str | None, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(f"notifications: {{channels: {{ops: {channel}}}}}", ENVIRON)
    (fault,) = caught.value.faults
    assert fault.path == f"notifications.channels.ops{f'.{path}' if path else ''}"
    assert message in str(fault)
    assert SECRET not in str(fault) + repr(fault) + "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "text",
    [
        "notifications: {per_hour: 0}",
        "notifications: {channels: [ops]}",
        "notifications: hunter2",
        "notifications: {channel: {}}",
    ],
)
def test_faults_around_it(load: Load, text: str) -> None:
    with pytest.raises(SettingsError, match=r"notifications") as caught:
        load(text)
    assert len(caught.value.faults) == 1


def test_a_wrong_variable_is_named(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"\$\{CLEANUP_NOTIFY_URL\}") as caught:
        load("", {"CLEANUP_NOTIFY_URL": f"ftp://{SECRET}"})
    assert SECRET not in str(caught.value)


def test_networks_reach_channels_and_vetoes(load: Load) -> None:
    text = "cleanup: {allow_networks: [10.1.0.0/16, '::1'], veto_url: 'http://10.1.0.9/go'}\n"
    targets = "targets: {a: {store: main, table: t, expires: {column: e}}}\n"
    loaded = load(text + targets, environ={"CLEANUP_NOTIFY_URL": "https://10.1.2.3/x"})
    named = (ip_network("10.1.0.0/16"), ip_network("::1"))
    assert loaded.notifications.channels["default"].networks == named
    assert loaded.targets[0].pace.networks == named
    over = load(targets, environ={"CLEANUP_ALLOW_NETWORKS": "192.168.1.7, 127.0.0.0/8"})
    assert over.targets[0].pace.networks == (ip_network("192.168.1.7"), ip_network("127.0.0.0/8"))
    assert load(targets).targets[0].pace.networks == ()


@pytest.mark.parametrize("value", ["10.1.2.3/16", "localhost", "7", "[[10.0.0.0/8]]", "{a: b}", "[10.0.0.0/33]"])
def test_what_is_no_network(faults: Faults, value: str) -> None:
    assert "addresses or networks" in str(faults(f"cleanup: {{allow_networks: {value}}}")["cleanup.allow_networks"])
