"""Flask-Session, FastAPI Users and Authlib over SQLAlchemy. Run as a program of its own:

    python python_apps.py URL APP create|clean

Where a framework has no cleaner of its own, `clean` deletes what the framework itself says is no longer accepted,
asking it about one record after another.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

LIFETIME = 3600


def dialect(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def flask_app(url: str):  # type: ignore[no-untyped-def]
    from flask import Flask, session
    from flask_session import Session
    from flask_sqlalchemy import SQLAlchemy

    app = Flask(__name__)
    app.config.update(
        SQLALCHEMY_DATABASE_URI=dialect(url),
        SESSION_TYPE="sqlalchemy",
        SECRET_KEY="x",
        SESSION_SERIALIZATION_FORMAT="json",
    )
    app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
    Session(app)

    @app.route("/<name>")
    def visit(name: str) -> str:
        session["name"] = name
        session.permanent = True
        return name

    return app


def create_flask(url: str) -> None:
    app = flask_app(url)
    for hours in (-100, -5, -1, 1, 5, 24 * 31):
        # A session ends its lifetime after the request.
        app.permanent_session_lifetime = timedelta(hours=hours)
        for number in range(2):
            app.test_client().get(f"/{hours}-{number}")
    app.permanent_session_lifetime = timedelta(hours=-1)
    renewed = app.test_client()
    renewed.get("/old")
    app.permanent_session_lifetime = timedelta(hours=1)
    renewed.get("/renewed")
    with app.app_context():
        app.session_interface.client.session.execute(
            sa.text("INSERT INTO sessions (session_id, data, expiry) VALUES ('session:none', '', NULL)")
        )
        app.session_interface.client.session.commit()


def clean_flask(url: str) -> None:
    app = flask_app(url)
    result = app.test_cli_runner().invoke(args=["session_cleanup"])
    assert result.exit_code == 0, result.output


async def fastapi(url: str, action: str) -> None:
    from fastapi_users.authentication.strategy.db import DatabaseStrategy
    from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
    from fastapi_users_db_sqlalchemy.access_token import (
        SQLAlchemyAccessTokenDatabase,
        SQLAlchemyBaseAccessTokenTableUUID,
    )
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
    from sqlalchemy.orm import DeclarativeBase

    class Base(DeclarativeBase):
        pass

    class User(SQLAlchemyBaseUserTableUUID, Base):
        pass

    class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
        pass

    engine = create_async_engine(dialect(url))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as db:
        users = SQLAlchemyUserDatabase(db, User)
        strategy = DatabaseStrategy(SQLAlchemyAccessTokenDatabase(db, AccessToken), lifetime_seconds=LIFETIME)
        if action == "create":
            user = await users.create({"email": "a@example.com", "hashed_password": "x"})
            for minutes in (0, 1, 30, 59, 61, 90, 100_000):
                token = await strategy.write_token(user)
                row = await strategy.database.get_by_token(token)
                row.created_at = datetime.now(UTC) - timedelta(minutes=minutes)
                await db.commit()
            return
        for token in (await db.scalars(sa.select(AccessToken.token))).all():
            age = datetime.now(UTC) - timedelta(seconds=LIFETIME)
            if await strategy.database.get_by_token(token, age) is None:
                await db.execute(sa.delete(AccessToken).where(AccessToken.token == token))
        await db.commit()


def create_fastapi(url: str) -> None:
    asyncio.run(fastapi(url, "create"))


def clean_fastapi(url: str) -> None:
    asyncio.run(fastapi(url, "clean"))


def authlib(url: str):  # type: ignore[no-untyped-def]
    from authlib.integrations.sqla_oauth2 import OAuth2AuthorizationCodeMixin, OAuth2TokenMixin
    from sqlalchemy.orm import Session, declarative_base

    base = declarative_base()

    class Token(base, OAuth2TokenMixin):  # type: ignore[misc, valid-type]
        __tablename__ = "oauth2_token"
        id = sa.Column(sa.Integer, primary_key=True)

    class Code(base, OAuth2AuthorizationCodeMixin):  # type: ignore[misc, valid-type]
        __tablename__ = "oauth2_code"
        id = sa.Column(sa.Integer, primary_key=True)

    engine = sa.create_engine(dialect(url))
    base.metadata.create_all(engine)
    return Session(engine), Token, Code


def create_authlib(url: str) -> None:
    session, token, code = authlib(url)
    now = int(time.time())
    number = 0
    for refresh in (None, "r"):
        for age, length in (
            (100, 3600),
            (4000, 3600),
            (4000, 0),
            (86400 * 40, 3600),
            (86400 * 40, 0),
            (86400 * 40, 86400 * 50),
        ):
            number += 1
            session.add(
                token(
                    access_token=f"a{number}",
                    refresh_token=f"{refresh}{number}" if refresh else None,
                    issued_at=now - age,
                    expires_in=length,
                    token_type="Bearer",
                )
            )
    for age in (0, 290, 310, 100_000):
        session.add(code(code=f"c{age}", auth_time=now - age))
    session.commit()


def clean_authlib(url: str) -> None:
    session, token, code = authlib(url)
    for row in session.scalars(sa.select(token)):
        # Authlib leaves the end of a refresh token to the application: here, thirty days.
        refreshes = row.refresh_token and row.issued_at + 30 * 86400 > time.time()
        if row.is_expired() and not refreshes:
            session.delete(row)
    for row in session.scalars(sa.select(code)):
        if row.is_expired():
            session.delete(row)
    session.commit()


if __name__ == "__main__":
    _, _url, _app, _action = sys.argv
    globals()[f"{_action}_{_app}"](_url)
