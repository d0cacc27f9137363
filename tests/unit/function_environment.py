"""What the template gives a function, with values that tests can tell apart."""

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "TABLE_NAME": "the-table",
    "TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:the-topic",
    "SECRET_PREFIX": "the-prefix",
    "DEADLINE_MINUTES": "360",
    "SETTLING_SECONDS": "120",
    "HISTORY_DAYS": "0",
    "MAX_KEY_AGE_DAYS": "90",
    "COOL_DOWN_MINUTES": "60",
    "SPREAD_MINUTES": "30",
    "MAX_CONCURRENCY": "5",
    "URGENT_MAX_CONCURRENCY": "50",
    "TOLERATED_FAILURES": "3",
    "ROTATE_MASTER_KEY_ARN": "arn:aws:states:eu-central-1:123456789012:stateMachine:RotateMasterKey",
    "ROTATE_FLEET_ARN": "arn:aws:states:eu-central-1:123456789012:stateMachine:element-rekey-rotate-fleet",
    "SCHEDULE_STATE": "ENABLED",
    "COMPROMISE_ALARM_PREFIX": "element-key-compromise-",
    "POWERTOOLS_SERVICE_NAME": "element-rekey",
}
