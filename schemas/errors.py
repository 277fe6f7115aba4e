"""Failures as HTTP clients see them: problem details (RFC 9457), and the types of problem there are."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.http import Page

PROBLEM_MEDIA_TYPE = "application/problem+json"


def problem_uri(code: str) -> str:
    """The URI of a problem type. Relative, so that it is valid under any host name."""
    return f"/problems/{code}"


class FieldError(BaseModel):
    """A fault at a `pointer` (RFC 6901) into the JSON body, or in a `parameter` of the URL."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class Problem(BaseModel):
    """`code` is stable and never renamed; `detail` is for people. `retryable`: the same request may succeed
    later. `request_id` identifies the request in the log of the server."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/dataset_not_found",
                    "title": "The dataset does not exist",
                    "status": 404,
                    "detail": "dataset 'flihgts' does not exist; did you mean 'flights'?",
                    "code": "dataset_not_found",
                    "retryable": False,
                    "instance": "/api/v1/datasets/flihgts",
                    "request_id": "5b4e1f0c9a7d",
                    "details": {"name": "flihgts"},
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
    instance: str | None = None
    request_id: str | None = None
    errors: list[FieldError] | None = None
    details: dict[str, Any] | None = Field(None, description="Facts about the failure.")


class ProblemType(BaseModel):
    """The meaning of a code."""

    type: str = Field(examples=["/problems/dataset_not_found"])
    code: str = Field(examples=["dataset_not_found"])
    title: str = Field(examples=["The dataset does not exist"])
    advice: str = Field(examples=["List the names with GET /api/v1/datasets."])


class ProblemPage(Page):
    items: list[ProblemType]


def _types(*rows: tuple[str, str, str]) -> dict[str, ProblemType]:
    return {
        code: ProblemType(type=problem_uri(code), code=code, title=title, advice=advice)
        for code, title, advice in rows
    }


PROBLEM_TYPES = _types(
    ("internal_error", "The server failed", "Report it with the request id; the server's log tells more."),
    ("invalid_request", "The request is not valid", "Correct what the detail names."),
    ("invalid_tag", "The name is not one for a tag", "Use letters, digits, '_', '-' and '.'; not v3."),
    ("invalid_dataset_name", "The name is not a dataset name", "Use letters, digits, '_' and '-'."),
    ("invalid_command", "The command is not valid", "Correct the fields that the detail names."),
    ("invalid_ticket", "The ticket is not valid", "Plan the query again and use the new ticket."),
    ("invalid_parameters", "The parameters do not fit the statement", "Send one value a placeholder."),
    ("invalid_option", "An option is not valid", "Use an option and a value that the detail lists."),
    ("invalid_contract", "The contract is not valid", "Correct what the detail names."),
    ("contract_violated", "The rows break the contract", "Look at the job's rules and the rejected rows."),
    ("invalid_sql", "The SQL cannot be understood", "Correct the statement at the position given."),
    ("derivation_cycle", "A dataset would be made from itself", "Derive it from something else."),
    ("query_failed", "The statement failed on the data", "Use TRY_CAST or filter the rows at fault."),
    ("invalid_source", "The source is not valid", "Compare the source with GET /api/v1/sources."),
    ("secret_not_found", "There is no such secret", "Ask the operator to add it, or correct its name."),
    ("checksum_mismatch", "The bytes are not the ones expected", "Check the checksum, or send them again."),
    ("unreadable_data", "The data cannot be read", "Check that the file is whole and its format right."),
    ("unknown_format", "The format is not known", "Name one of the formats that the detail lists."),
    ("schema_mismatch", "The columns do not fit the dataset", "Change the columns, or replace the dataset."),
    ("lossy_type", "Storing a column would lose information", "Cast the column, or allow the loss."),
    ("unsupported_type", "A column's type cannot be stored", "Cast the column to another type."),
    ("invalid_keys", "The new rows have no proper keys", "Leave out, or correct, the rows that it names."),
    (
        "idempotency_key_reused",
        "The idempotency key belongs to another request",
        "Send a new key with a new request, or the same request again.",
    ),
    ("not_found", "There is nothing here", "Check the path against /docs."),
    ("dataset_not_found", "The dataset does not exist", "List the names with GET /api/v1/datasets."),
    ("table_not_found", "The table does not exist", "Create it first, or correct its name."),
    ("version_not_found", "The version does not exist", "List them with GET .../versions."),
    ("version_expired", "The version is not kept any more", "Read a newer one; tag what has to stay."),
    ("tag_not_found", "The tag does not exist", "List the tags with GET .../tags."),
    ("ingestion_not_found", "The ingestion does not exist", "List the ids with GET /api/v1/ingestions."),
    ("derivation_not_found", "The dataset is not derived", "Say what makes it with PUT .../derivation."),
    ("step_not_found", "The step is not installed", "List them with GET /api/v1/steps."),
    ("contract_not_found", "The dataset has no contract", "Set one with PUT .../contract."),
    ("upload_not_found", "The upload does not exist", "It has expired or was ingested; begin another."),
    ("token_not_found", "The token does not exist", "List them with GET /api/v1/tokens."),
    ("user_not_found", "The user does not exist", "List them with GET /api/v1/users."),
    ("schedule_not_found", "The schedule does not exist", "List them with GET /api/v1/schedules."),
    ("query_not_found", "The query is not known", "Queries are forgotten some time after their end."),
    ("handle_not_found", "The handle is unknown or has expired", "Prepare the statement again."),
    ("conflict", "The state forbids it", "Look at the current state and decide again."),
    ("dataset_exists", "The dataset exists already", "Append, replace, or choose another name."),
    ("dataset_derived", "The dataset is derived", "Write elsewhere, or remove its derivation first."),
    ("table_exists", "The table exists already", "Append to it, drop it, or choose another name."),
    ("user_exists", "The user exists already", "Choose another name, or change the password."),
    ("commit_conflict", "Somebody else committed first", "Try again."),
    (
        "idempotency_key_pending",
        "The request with this idempotency key has not ended",
        "Ask again in a moment.",
    ),
    ("transaction_failed", "The transaction has failed", "Roll back and begin again."),
    ("ingestion_finished", "The ingestion has finished", "There is nothing left to cancel."),
    ("upload_finished", "The upload is complete", "Ingest it, or begin another."),
    ("offset_mismatch", "The upload goes on elsewhere", "Ask for its offset with HEAD, and go on there."),
    ("not_retryable", "The job has not failed", "Wait for its end, or start a new one."),
    ("schedule_exists", "The schedule exists already", "Change or remove it, or choose another name."),
    ("schedule_running", "The schedule's last job has not ended", "Wait for it, or cancel it."),
    ("source_busy", "The source is being ingested", "Wait for the other ingestion, then try again."),
    ("unauthenticated", "No valid credentials", "Send the header 'Authorization: Bearer <token>'."),
    ("permission_denied", "Not allowed", "Ask for a token with the scope that the detail names."),
    ("reserved_name", "The name is reserved", "Choose another name for the token or the user."),
    ("statement_not_allowed", "The statement is not allowed", "Rewrite it without what the detail names."),
    ("source_not_allowed", "The source is not allowed", "Ask the operator to allow the path or host."),
    ("resource_exhausted", "A limit was reached", "Try again later."),
    ("too_many_streams", "Too many results are being read", "Read or close some, then try again."),
    ("too_many_sessions", "Too many sessions are open", "Close some, then try again."),
    ("too_many_queries", "Too many of your queries run", "Read or cancel some, then try again."),
    ("too_many_requests", "Too many requests", "Wait as long as Retry-After says, then try again."),
    ("out_of_memory", "The query needs more memory than it may use", "Ask for less, or raise the limit."),
    ("out_of_disk", "The server's disk is full", "Free some space, then try again."),
    ("limit_exceeded", "The input is larger than allowed", "Send less, or raise the setting named."),
    ("dependency_failed", "Something outside of Skein failed", "Try again later."),
    ("source_unavailable", "The source cannot be reached", "Check its address, then try again."),
    ("engine_unavailable", "The engine is not available", "Try again in a moment."),
    ("deadline_exceeded", "The time allowed is over", "Ask for less, or allow more time."),
    ("unsupported", "This is not implemented", "The detail may name another way."),
    (
        "attempts_exhausted",
        "The server ended each time it ran",
        "See the server's log and the machine's memory, then try the job again.",
    ),
    ("cancelled", "It was cancelled", "Somebody asked for it to stop; send it again if it was not you."),
    ("method_not_allowed", "The method is not allowed here", "Use a method of the header 'Allow'."),
    ("not_acceptable", "No format asked for is available", "Accept JSON, Arrow, NDJSON or CSV."),
    ("precondition_required", "The request has to be conditional", "Send the ETag as If-Match."),
    ("precondition_failed", "The resource has changed", "Read it again and repeat with its new ETag."),
    (
        "unsupported_media_type",
        "The body's type cannot be read here",
        "Send 'Content-Type: application/json', and the bytes of uploads as they are.",
    ),
    ("host_not_allowed", "The host name is not allowed", "Use a configured host name."),
    ("origin_not_allowed", "The web page's origin is not allowed", "Add it to the allowed origins."),
)
