"""Sessions and tokens as Django's own packages write them, and their own cleaners. Run as a program of its own:

    python django_app.py URL APP create|clean [SETTING=VALUE ...]

Everything is made by the packages' own API, in the past by their own clock.
"""

import contextlib
import sys
import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings

APPS = {
    "sessions": ["django.contrib.sessions"],
    "dot": ["oauth2_provider"],
    "simplejwt": ["rest_framework", "rest_framework_simplejwt.token_blacklist"],
    "allauth": ["django.contrib.sessions", "allauth", "allauth.account", "allauth.idp.oidc", "allauth.usersessions"],
    "dbcache": [],
    "knox": ["rest_framework", "knox"],
}
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def configure(url: str, app: str, given: dict[str, str]) -> None:
    parts = urlsplit(url)
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": parts.path.lstrip("/"), "USER": parts.username}
    host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    database |= {"PASSWORD": parts.password or "", "HOST": host, "PORT": parts.port or ""}
    dot = {"ACCESS_TOKEN_EXPIRE_SECONDS": 36000, "PKCE_REQUIRED": False}
    dot |= {key: int(value) for key, value in given.items()}
    settings.configure(
        SECRET_KEY="x" * 50,
        USE_TZ=True,
        DATABASES={"default": database},
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="urls_of_the_test",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *APPS[app]],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"] if app == "allauth" else [],
        OAUTH2_PROVIDER=dot,
        ACCOUNT_EMAIL_CONFIRMATION_HMAC=False,
        IDP_OIDC_PRIVATE_KEY="",
        CACHES={"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "my_cache"}},
    )
    urls = types.ModuleType("urls_of_the_test")
    urls.urlpatterns = []  # type: ignore[attr-defined]
    sys.modules["urls_of_the_test"] = urls
    django.setup()
    if app == "dot":
        from django.urls import include, path

        urls.urlpatterns.append(path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")))  # type: ignore[attr-defined]


@contextlib.contextmanager
def at(ago: timedelta) -> Iterator[None]:
    """What is done inside was done so long ago, as far as Django knows."""
    then = datetime.now(UTC) - ago
    with mock.patch("django.utils.timezone.now", lambda: then):
        yield


def users(*names: str) -> list:
    from django.contrib.auth import get_user_model

    return [get_user_model().objects.create_user(name, f"{name}@example.com", "secret") for name in names]


def create_sessions() -> None:
    from django.contrib.sessions.backends.db import SessionStore

    def session(ago: timedelta, **options: object) -> SessionStore:
        with at(ago):
            store = SessionStore()
            store["user"] = str(ago)
            for name, value in options.items():
                getattr(store, name)(value)
            store.save()
        return store

    for days in range(0, 40, 3):
        session(days * DAY)
    session(20 * DAY, set_expiry=0)  # until the browser is closed
    session(DAY, set_expiry=0)
    session(3 * HOUR, set_expiry=7200)
    session(HOUR, set_expiry=7200)
    with at(DAY):
        SessionStore(session(13 * DAY).session_key).save()  # used again, and written
    SessionStore(session(DAY).session_key).delete()  # logged out
    with at(2 * DAY):
        SessionStore(session(20 * DAY).session_key).cycle_key()


def clean_sessions() -> None:
    from django.core.management import call_command

    call_command("clearsessions")


def create_dot() -> None:
    from django.test import Client
    from oauth2_provider import models

    (owner,) = users("owner")
    application = models.get_application_model()
    for grant in ("password", "client-credentials"):
        application.objects.create(
            name=grant,
            client_id=grant,
            client_secret="secret",
            user=owner,
            client_type="confidential",
            authorization_grant_type=grant,
        )
    client = Client()

    def ask(ago: timedelta, application: str, **data: str) -> dict:
        with at(ago):
            known = {"client_id": application, "client_secret": "secret"}
            answer = client.post("/o/token/", {**known, **data})
        assert answer.status_code == 200, answer.content
        return answer.json()

    def login(ago: timedelta) -> dict:
        return ask(ago, "password", grant_type="password", username="owner", password="secret")

    def refresh(ago: timedelta, token: dict) -> dict:
        return ask(ago, "password", grant_type="refresh_token", refresh_token=token["refresh_token"])

    def revoke(ago: timedelta, token: str) -> None:
        with at(ago):
            data = {"client_id": "password", "client_secret": "secret", "token": token}
            assert client.post("/o/revoke_token/", data).status_code == 200

    for hours in (1, 9, 11, 30, 24 * 8, 24 * 29, 24 * 31, 24 * 90):
        login(hours * HOUR)
    for hours in (1, 30):
        ask(hours * HOUR, "client-credentials", grant_type="client_credentials")
    chain = login(50 * DAY)
    for days in (40, 20, 5, 0):  # used again and again
        chain = refresh(days * DAY + HOUR, chain)
    refresh(12 * DAY, login(35 * DAY))
    revoke(2 * DAY, login(4 * DAY)["refresh_token"])
    revoke(40 * DAY, login(41 * DAY)["refresh_token"])
    revoke(HOUR, login(3 * DAY)["access_token"])
    id_tokens(models, owner)


def id_tokens(models: types.ModuleType, owner: object) -> None:
    import uuid

    now = datetime.now(UTC)
    id_token, access = models.get_id_token_model(), models.get_access_token_model()
    for hours in (-5, 5, 50):
        alone = {"user": owner, "scope": "openid", "expires": now - hours * HOUR}
        id_token.objects.create(jti=uuid.uuid4(), **alone)
        held = id_token.objects.create(jti=uuid.uuid4(), **alone)
        access.objects.create(user=owner, token=uuid.uuid4().hex, expires=now - (hours - 10) * HOUR, id_token=held)
    application = models.get_application_model().objects.first()
    grants = models.get_grant_model().objects
    for minutes in (-1, 1, 100):
        expires = now - minutes * timedelta(minutes=1)
        known = {"user": owner, "application": application, "expires": expires}
        grants.create(code=uuid.uuid4().hex, redirect_uri="https://example.com", **known)
        if hasattr(models, "get_device_grant_model"):
            codes = {"device_code": uuid.uuid4().hex, "user_code": uuid.uuid4().hex[:8]}
            models.get_device_grant_model().objects.create(client_id="x", expires=expires, **codes)
    # Somebody deleted the access token in the admin.
    token = uuid.uuid4().hex
    with at(3 * HOUR):
        models.get_refresh_token_model().objects.create(user=owner, token=token, application=application)


def clean_dot() -> None:
    from django.core.management import call_command

    call_command("cleartokens")


def create_simplejwt() -> None:
    from rest_framework_simplejwt.tokens import RefreshToken, SlidingToken

    (user,) = users("user")

    def issue(kind: type, ago: timedelta) -> RefreshToken:
        then = datetime.now(UTC) - ago
        with mock.patch("rest_framework_simplejwt.tokens.aware_utcnow", lambda: then), at(ago):
            return kind.for_user(user)

    for hours in (1, 20, 25, 48, 72, 500):
        issue(RefreshToken, hours * HOUR)
        issue(RefreshToken, hours * HOUR).blacklist()
    for minutes in (1, 4, 30, 3000):
        issue(SlidingToken, minutes * timedelta(minutes=1)).blacklist()


def clean_simplejwt() -> None:
    from django.core.management import call_command

    call_command("flushexpiredtokens")


def create_allauth() -> None:
    from allauth.account.models import EmailAddress, EmailConfirmation
    from allauth.idp.oidc.models import Token
    from allauth.usersessions.models import UserSession
    from django.contrib.sessions.backends.db import SessionStore

    known = users("one", "two", "three", "four")
    for user, days in zip(known, (1, 2, 4, 40), strict=True):
        address = EmailAddress.objects.create(user=user, email=user.email)
        with at(days * DAY):
            sent = EmailConfirmation.create(address)
            sent.sent = datetime.now(UTC) - days * DAY
            sent.save()
            EmailConfirmation.create(address)  # not sent yet
    for number, hours in enumerate((-1, 1, 100, None)):
        for kind in Token.Type.values:
            expires = None if hours is None else datetime.now(UTC) - hours * HOUR
            token = Token(type=kind, expires_at=expires, user=known[0])
            token.set_value(f"{kind}{number}")
            token.save()
    for user in known:
        for days in (1, 10, 20):
            with at(days * DAY):
                session = SessionStore()
                session["_auth_user_id"] = str(user.pk)
                session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
                session["_auth_user_hash"] = user.get_session_auth_hash()
                session.save()
                UserSession.objects.create(user=user, ip="127.0.0.1", user_agent="x", session_key=session.session_key)
            entry = UserSession.objects.filter(session_key=session.session_key)
            entry.update(created_at=datetime.now(UTC) - days * DAY)
            if days == 10:
                session.delete()  # logged out
    SessionStore().clear_expired()


def clean_allauth() -> None:
    from allauth.account.models import EmailConfirmation
    from allauth.usersessions.models import UserSession
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    EmailConfirmation.objects.delete_expired_confirmations()
    call_command("oidc_cleartokens")
    for user in get_user_model().objects.all():
        UserSession.objects.purge_and_list(user)


def create_dbcache() -> None:
    from django.core.cache import cache
    from django.core.management import call_command

    call_command("createcachetable")
    for minutes in (0, 4, 6, 600):
        then = (datetime.now(UTC) - timedelta(minutes=minutes)).timestamp()
        with mock.patch("time.time", lambda then=then: then):
            cache.set(f"default-{minutes}", "x")
            cache.set(f"hour-{minutes}", "x", 3600)
            cache.set(f"for-ever-{minutes}", "x", None)
    cache.delete("default-0")
    cache.touch("hour-6", 7200)
    cache.touch("hour-600", 7200)  # it is over


def clean_dbcache() -> None:
    """What is asked for and is over goes."""
    from django.core.cache import cache

    cache.get_many([f"{name}-{minutes}" for name in ("default", "hour", "for-ever") for minutes in (0, 4, 6, 600)])


def create_knox() -> None:
    from knox.models import AuthToken

    for user in users("one", "two"):
        for hours in (0, 5, 9, 11, 100):
            with at(hours * HOUR):
                AuthToken.objects.create(user)
                AuthToken.objects.create(user, expiry=timedelta(days=3))
        AuthToken.objects.create(user, expiry=None)
        with at(900 * DAY):
            AuthToken.objects.create(user, expiry=None)


def clean_knox() -> None:
    from knox.auth import TokenAuthentication
    from knox.models import AuthToken

    for token in AuthToken.objects.filter(expiry=None):
        TokenAuthentication()._cleanup_token(token)


if __name__ == "__main__":
    _, _url, _app, _action, *_given = sys.argv
    configure(_url, _app, dict(pair.split("=") for pair in _given))
    if _action == "create":
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
    globals()[f"{_action}_{_app}"]()
